"""What is read from Redis in one round trip: short Lua scripts that answer the checkpoint together with what is asked.

A script sees one state, between two batches. Keys that are not named as `KEYS` are rows of the same partition, so of
the same slot; nothing is written. A step of a scan ends after so many members or bytes, so that nobody waits for it.
"""

from __future__ import annotations

from projections.redis_wire import Script

ROWS = Script("""
local found = {redis.call('GET', KEYS[1])}
for n = 2, #KEYS do found[n] = redis.call('HGETALL', KEYS[n]) end
return found
""")
"""KEYS checkpoint, rows -> checkpoint, the rows' fields."""

COUNT = Script("return {redis.call('GET', KEYS[1]), redis.call('ZCARD', KEYS[2])}")
"""KEYS checkpoint, index -> checkpoint, members."""

MARKS = Script("""
local found = {}
for n = 2, #KEYS do found[n - 1] = redis.call('HGET', KEYS[n], ARGV[1]) end
return found
""")
"""KEYS checkpoint, rows; ARGV field -> the field of each row."""

SCAN = Script("""
local at, whole, bytes, matches = redis.call('GET', KEYS[1]), ARGV[2] == 'rows', tonumber(ARGV[3]), tonumber(ARGV[4])
local members = redis.call('ZRANGE', KEYS[2], unpack(ARGV, 5 + 3 * matches))
local seen, sure, found = 0, 0, {}
for n, member in ipairs(members) do
  local row, fits, exact = ARGV[1] .. string.sub(member, 9), true, true
  for m = 5, 4 + 3 * matches, 3 do
    local text = redis.call('HGET', row, ARGV[m])
    fits = text and true
    if fits then
      bytes = bytes - #text
      if ARGV[m + 1] == 'equals' then
        fits = text == ARGV[m + 2]
      else
        fits = string.find(text, ARGV[m + 2], 1, true) ~= nil
        exact = exact and string.byte(text) == 34 and string.find(text, '\\\\', 1, true) == nil
      end
    end
    if not fits then break end
  end
  seen = n
  if fits and exact and not whole then
    sure = sure + 1
  elseif fits then
    local fields = redis.call('HGETALL', row)
    found[#found + 1] = member
    found[#found + 1] = fields
    for _, text in ipairs(fields) do bytes = bytes - #text end
  end
  if bytes < 0 then break end
end
return {at, #members, seen, seen > 0 and members[seen] or '', sure, found}
""")
"""One step through an index.

KEYS checkpoint, index; ARGV what keys of rows begin with, `rows` or `count`, bytes to look at, number of matches, their
fields, hows and JSON texts, then ZRANGE's own arguments -> checkpoint, members in reach, members seen, the last of
these, how many certainly fit (`count` only), and members and fields of rows that fit or, with `count`, may fit: JSON
escapes may look like text, and only a text without any is told here.
"""
