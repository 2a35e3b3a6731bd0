"""`mnemolog-verify`: checks exports, signed heads and receipts offline, and trusts nobody who made them.

This one file is the whole verifier: it imports the standard library and `cryptography`, nothing of mnemolog, and may be
copied anywhere. It follows docs/audit-format.md, from which another can be written.

    mnemolog-verify export FOLDER [--heads FOLDER --trust KEY]
    mnemolog-verify heads FOLDER --trust KEY
    mnemolog-verify receipt FILE --trust KEY [--heads FOLDER]

`KEY` is an Ed25519 public key in hex, which one has from the auditor and not from the log's operator. Exit code 0: all
holds; 1: something does not, and it is said what; 2: the command line is wrong.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

EXPORT, HEAD, RECEIPT = "mnemolog/export/1", "mnemolog/head/1", "mnemolog/receipt/1"
SIGNED, ROTATED = b"mnemolog/signed/1\n", b"mnemolog/rotation/1\n"
SEALED = (
    *("ce_type", "ce_time", "ce_subject", "tenant", "stream", "version", "slot", "ordinal"),
    *("command", "index", "count", "actor", "rules"),
)


class Refused(Exception):
    """Something does not hold."""


def refuse_if(wrong: object, text: str) -> None:
    """Raise Refused if something is wrong."""
    if wrong:
        raise Refused(text)


# ---- hashes ----------------------------------------------------------------------------------------------------------


def sha256(*parts: bytes) -> bytes:
    """Return the SHA-256 of the parts, one after the other."""
    return hashlib.sha256(b"".join(parts)).digest()


def link_of(headers: Mapping[str, str], value: bytes) -> bytes:
    """Return a fact's link: over its sealed headers, each preceded by its length, and the hash of its value."""
    texts = [headers[name].encode() for name in SEALED]
    sealed = b"".join(len(text).to_bytes(4, "big") + text for text in texts)
    return sha256(b"mnemolog/link/1", sha256(sealed), sha256(value))


def chain_of(stream: str, links: Sequence[bytes]) -> bytes:
    """Return the chain of a stream after these links."""
    chain = sha256(b"mnemolog/stream/1", stream.encode())
    for link in links:
        chain = sha256(chain, link)
    return chain


def root_of(links: Sequence[bytes]) -> bytes:
    """Return the Merkle root over links (RFC 6962 §2.1)."""
    level = [sha256(b"\x00", link) for link in links]
    if not level:
        return sha256()
    while len(level) > 1:
        pairs = [sha256(b"\x01", level[n], level[n + 1]) for n in range(0, len(level) - 1, 2)]
        level = pairs + level[len(level) - len(level) % 2 :]
    return level[0]


def canonical(value: Any) -> bytes:
    """Return JSON with sorted keys, without spaces, in UTF-8: what is signed."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


# ---- signatures ------------------------------------------------------------------------------------------------------


def check_signature(key: str, signature: str, message: bytes) -> None:
    """Raise Refused unless the signature is this key's."""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(bytes.fromhex(signature), message)
    except (InvalidSignature, ValueError) as error:
        message_ = "the signature is not that of the key"
        raise Refused(message_) from error


def signed(document: Mapping[str, Any]) -> bytes:
    """Return the bytes that the signature of a document covers: all of it but the signature."""
    return SIGNED + canonical({name: value for name, value in document.items() if name != "signature"})


def rotated(new: str, previous: str) -> bytes:
    """Return the bytes by which an old key names a new one, behind the head with the hash `previous`."""
    return ROTATED + f"{new} {previous}".encode()


def check_heads(heads: Sequence[Mapping[str, Any]], trusted: str) -> None:
    """Check heads, oldest first: each signed by a key that is trusted, each naming the one before, none going back.

    1. The first key is the trusted one, or names it as its predecessor; a later one is named by the one before it.
    2. `number` and `previous` lead from head to head without a gap.
    3. No slot has fewer facts than before, and with as many it has the same root.
    """
    before: Mapping[str, Any] | None = None
    key = trusted
    for head in heads:
        where = f"head {head.get('number')}"
        refuse_if(head.get("format") != HEAD, f"{where} is not of {HEAD}")
        if head["key"] != key:
            rotation = head.get("rotation") or {}
            refuse_if(rotation.get("key") != key, f"{where} is signed by a key that nobody trusted has named")
            check_signature(key, rotation["signature"], rotated(head["key"], head["previous"] or ""))
            key = head["key"]
        check_signature(key, head["signature"], signed(head))
        if before is not None:
            refuse_if(
                (head["number"], head["previous"]) != (before["number"] + 1, sha256(canonical(before)).hex()),
                f"{where} does not follow head {before['number']}",
            )
            for slot, one in before["slots"].items():
                now = head["slots"].get(slot, {"facts": 0})
                refuse_if(
                    now["facts"] < one["facts"] or (now["facts"] == one["facts"] and now["root"] != one["root"]),
                    f"slot {slot} goes back from head {before['number']} to head {head['number']}",
                )
        before = head


def read_heads(folder: Path) -> list[dict[str, Any]]:
    """Return the heads of a folder, oldest first."""
    heads = [json.loads(file.read_bytes()) for file in sorted(folder.glob("head-*.json"))]
    refuse_if(not heads, f"there is no head in {folder}")
    return sorted(heads, key=lambda head: int(head["number"]))


# ---- exports ---------------------------------------------------------------------------------------------------------


def facts_of(folder: Path, expected: str) -> Iterator[tuple[dict[str, str], bytes]]:
    """Yield headers and value of each fact; in the end, refuse lines that the manifest does not speak of."""
    digest = hashlib.sha256()
    with (folder / "facts.jsonl").open("rb") as file:
        for line in file:
            digest.update(line)
            said = json.loads(line)
            yield said["headers"], said["value"].encode()
    refuse_if(digest.hexdigest() != expected, "facts.jsonl is not the file that the manifest speaks of")


class Streams:
    """The links of an export, by stream and version, and by slot and ordinal; and the chains that its facts say."""

    def __init__(self) -> None:
        """Start empty."""
        self.versions: dict[str, dict[int, bytes]] = {}
        self.ordinals: dict[int, dict[int, bytes]] = {}
        self.chains: dict[tuple[str, int], str] = {}

    def add(self, headers: Mapping[str, str], value: bytes) -> None:
        """Take a fact, and of an erasure what it keeps of the facts that it took."""
        stream, slot = headers["stream"], int(headers["slot"])
        link = link_of(headers, value)
        self._put(stream, slot, int(headers["version"]), int(headers["ordinal"]), link)
        self.chains[stream, int(headers["version"])] = headers["chain"]
        if headers["ce_type"].split(".")[1] == "erased":
            for gone in json.loads(value)["body"]["took"]:
                self._put(stream, slot, int(gone["version"]), int(gone["ordinal"]), bytes.fromhex(gone["link"]))

    def _put(self, stream: str, slot: int, version: int, ordinal: int, link: bytes) -> None:
        versions, ordinals = self.versions.setdefault(stream, {}), self.ordinals.setdefault(slot, {})
        refuse_if(version in versions or ordinal in ordinals, f"version {version} of {stream} is there twice")
        versions[version] = ordinals[ordinal] = link

    def check_chains(self, *, whole: bool) -> None:
        """Check every chain. In a part of a log it goes on behind missing versions from what the next fact says."""
        for stream, links in self.versions.items():
            there = next(n for n in range(len(links) + 1) if n not in links)
            refuse_if(there < len(links) and whole, f"version {there} of {stream} is missing")
            chain: str | None = None
            before = -1
            for version in sorted(links):
                if version == 0:
                    chain = chain_of(stream, (links[0],)).hex()
                elif version == before + 1 and chain is not None:
                    chain = sha256(bytes.fromhex(chain), links[version]).hex()
                else:
                    chain = None
                said = self.chains.get((stream, version))
                refuse_if(chain and said and said != chain, f"the chain of {stream} breaks at version {version}")
                chain, before = chain or said, version

    def links(self, slot: int) -> list[bytes]:
        """Return a slot's links in the order of their ordinals. Raises Refused if one is missing."""
        links = self.ordinals.get(slot, {})
        refuse_if(sorted(links) != list(range(len(links))), f"ordinals of slot {slot} are missing: facts have vanished")
        return [links[n] for n in range(len(links))]


def check_export(folder: Path, heads: Sequence[Mapping[str, Any]]) -> str:
    """Check an export; return what it is. Heads, which are checked before, must agree with a whole one."""
    manifest = json.loads((folder / "manifest.json").read_bytes())
    refuse_if(manifest.get("format") != EXPORT, f"the manifest is not of {EXPORT}")
    whole = not manifest["chosen"]
    streams, count = Streams(), 0
    for headers, value in facts_of(folder, manifest["sha256"]):
        streams.add(headers, value)
        count += 1
    refuse_if(count != manifest["facts"], f"there are {count} facts, the manifest speaks of {manifest['facts']}")
    streams.check_chains(whole=whole)
    if not whole:
        refuse_if(heads, "a part of a log cannot be compared with heads")
        return f"{count} facts, a part of a log: what is there holds together"
    now = {str(s): (len(streams.links(s)), root_of(streams.links(s)).hex()) for s in streams.ordinals}
    refuse_if(
        now != {slot: (one["facts"], one["root"]) for slot, one in manifest["heads"].items()},
        "the facts are not those that the manifest's heads speak of",
    )
    for head in heads:
        for slot, one in head["slots"].items():
            check_slot(int(slot), streams.links(int(slot)), one, f"head {head['number']}")
    return f"{count} facts, a whole log" + (f", as {len(heads)} signed heads say" if heads else "")


def check_slot(slot: int, links: Sequence[bytes], one: Mapping[str, Any], name: str) -> None:
    """Refuse links that are not those that a head speaks of."""
    refuse_if(
        len(links) < one["facts"],
        f"slot {slot}: {name} speaks of {one['facts']} facts, {len(links)} are there: its tail is gone",
    )
    refuse_if(
        root_of(links[: one["facts"]]).hex() != one["root"],
        f"slot {slot}: its facts are not those that {name} speaks of",
    )


# ---- receipts --------------------------------------------------------------------------------------------------------


def check_receipt(receipt: Mapping[str, Any], trusted: str, heads: Sequence[Mapping[str, Any]]) -> str:
    """Check a receipt of an erasure; return what it proves. Heads are checked before.

    1. It is signed by the trusted key, or by one that the heads have led to.
    2. Each erasure is a fact of this stream, its link stands in the stream's chain, and it says what was erased.
    3. The chain and the slot's root follow from the links; the heads speak of the same ones, before and after.
    4. The scan found nothing left.
    """
    refuse_if(receipt.get("format") != RECEIPT, f"this is not a receipt of {RECEIPT}")
    refuse_if(
        receipt["key"] not in {trusted, *(head["key"] for head in heads)},
        "the receipt is signed by a key that is not trusted",
    )
    check_signature(receipt["key"], receipt["signature"], signed(receipt))
    stream, slot = receipt["stream"], receipt["slot"]
    versions = [bytes.fromhex(link) for link in receipt["links"]]
    ordinals = [bytes.fromhex(link) for link in slot["links"]]
    erased: dict[int, dict[str, Any]] = {}
    for fact in receipt["erasures"]:
        headers, value = fact["headers"], fact["value"].encode()
        link, version, ordinal = link_of(headers, value), int(headers["version"]), int(headers["ordinal"])
        refuse_if(
            headers["stream"] != stream or int(headers["slot"]) != slot["slot"], "an erasure is not of this stream"
        )
        refuse_if(
            versions[version] != link or ordinals[ordinal] != link,
            f"the erasure at version {version} is not the fact that the chain holds",
        )
        for gone in json.loads(value)["body"]["took"]:
            taken = bytes.fromhex(gone["link"])
            refuse_if(
                versions[gone["version"]] != taken or ordinals[gone["ordinal"]] != taken,
                f"the erased version {gone['version']} had another link than the chain holds",
            )
            erased[gone["version"]] = {name: gone[name] for name in ("version", "ordinal", "subject", "link")}
    refuse_if(
        not erased or [erased[version] for version in sorted(erased)] != receipt["erased"],
        "the erasures do not say what the receipt says was erased",
    )
    refuse_if(chain_of(stream, versions).hex() != receipt["chain"], "the chain does not follow from the links")
    refuse_if(root_of(ordinals).hex() != slot["root"], "the slot's root does not follow from the links")
    agreed = 0
    for head in heads:
        if one := head["slots"].get(str(slot["slot"])):
            check_slot(slot["slot"], ordinals, one, f"head {head['number']}")
            agreed += 1
    refuse_if("log" not in receipt["left"], "the scan has not looked at the log")
    left = {where: count for where, count in receipt["left"].items() if count}
    refuse_if(left, f"the scan has found something left: {left}")
    looked = ", ".join(receipt["left"])
    said = f"{len(erased)} facts of {stream} are erased, nothing is left where was looked ({looked})"
    return said + (f"; {agreed} signed heads agree with the rest of the slot" if agreed else "")


# ---- the command line ------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Check what the command line names."""
    parser = argparse.ArgumentParser(prog="mnemolog-verify", description="Check exports, heads and receipts, offline.")
    verbs = parser.add_subparsers(required=True, dest="verb", metavar="COMMAND")
    for verb, what in (("export", "an export's folder"), ("heads", "a folder of heads"), ("receipt", "a receipt")):
        command = verbs.add_parser(verb, help=f"check {what}")
        command.add_argument("path", type=Path, help=what)
        command.add_argument(
            "--trust", metavar="KEY", required=verb != "export", help="the auditor's public key, in hex"
        )
        if verb != "heads":
            command.add_argument("--heads", type=Path, metavar="FOLDER", help="a folder of signed heads")
    options = parser.parse_args(arguments)
    try:
        sys.stdout.write(f"{_checked(options)}\n")
    except Refused as refused:
        sys.stdout.write(f"REFUSED  {refused}\n")
        return 1
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        sys.stdout.write(f"REFUSED  it cannot be read: {type(error).__name__}: {error}\n")
        return 1
    return 0


def _checked(options: argparse.Namespace) -> str:
    folder = options.path if options.verb == "heads" else options.heads
    heads: Sequence[Mapping[str, Any]] = ()
    if folder is not None:
        refuse_if(not options.trust, "heads need --trust: the public key of who signed them")
        heads = read_heads(folder)
        check_heads(heads, options.trust)
    if options.verb == "export":
        return check_export(options.path, heads)
    if options.verb == "receipt":
        return check_receipt(json.loads(options.path.read_bytes()), options.trust, heads)
    return f"{len(heads)} heads, signed and each following the one before; the last of {heads[-1]['created']}"


if __name__ == "__main__":
    sys.exit(main())
