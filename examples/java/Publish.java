// A publisher without any of mnemolog's code: Apache Kafka's own client and the documented contract (docs/publishing.md).
//
//   java -cp '.stack/kafka-libs/*' examples/java/Publish.java SERVERS TENANT [TOPIC_PREFIX [KEY_FILE]]
//
// With a key file, as `mnemolog keys create --json` prints it, each command is signed.
// It opens a space and a session, appends three events in one command, keeps a memory, says everything twice under the
// same ids, and hears every outcome. It ends with 0 if all is as the contract says.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.MessageDigest;
import java.security.SecureRandom;
import java.security.Signature;
import java.security.spec.EdECPrivateKeySpec;
import java.security.spec.NamedParameterSpec;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

public final class Publish implements AutoCloseable {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final Duration PATIENCE = Duration.ofSeconds(60);

    private final SecureRandom random = new SecureRandom();
    private final KafkaProducer<String, byte[]> producer;
    private final KafkaConsumer<String, byte[]> consumer;
    private final String commands;
    private final String tenant;
    private final int partitions;
    private final JsonNode key; // null: nothing is signed

    Publish(String servers, String tenant, String prefix, JsonNode key) {
        this.tenant = tenant;
        this.key = key;
        this.commands = prefix + "memory.commands";
        producer = new KafkaProducer<>(
                Map.of("bootstrap.servers", servers, "acks", "all", "enable.idempotence", "true", "linger.ms", "5"),
                new StringSerializer(), new ByteArraySerializer());
        consumer = new KafkaConsumer<>(
                Map.of("bootstrap.servers", servers, "isolation.level", "read_committed", "auto.offset.reset", "none",
                        "enable.auto.commit", "false"),
                new StringDeserializer(), new ByteArrayDeserializer());
        partitions = producer.partitionsFor(commands).size();
        List<TopicPartition> outcomes = new ArrayList<>();
        for (int p = 0; p < partitions; p++) {
            outcomes.add(new TopicPartition(prefix + "memory.outcomes", p));
        }
        consumer.assign(outcomes);
        consumer.seekToEnd(outcomes);
        for (TopicPartition at : outcomes) {
            consumer.position(at); // listen before the first command is published
        }
    }

    /** H(parts) % 4096: SHA-256 over the parts as UTF-8, each preceded by its length in 4 bytes; the first 8 bytes. */
    static int slotOf(String... parts) throws Exception {
        MessageDigest hash = MessageDigest.getInstance("SHA-256");
        for (String part : parts) {
            byte[] text = part.getBytes(StandardCharsets.UTF_8);
            hash.update(ByteBuffer.allocate(4).putInt(text.length).array());
            hash.update(text);
        }
        byte[] first = java.util.Arrays.copyOf(hash.digest(), 8);
        return new BigInteger(1, first).mod(BigInteger.valueOf(4096)).intValue();
    }

    /** The slot in an id: the 12 bits behind the version digit. */
    static int slotIn(String id) {
        return (int) (UUID.fromString(id).getMostSignificantBits() & 0xfff);
    }

    /** The headers that sign a command: docs/publishing.md, "Signing from any language". */
    Map<String, String> signed(Map<String, String> headers, byte[] value) throws Exception {
        String time = Instant.now().toString();
        Signature signature = Signature.getInstance("Ed25519");
        byte[] seed = HexFormat.of().parseHex(key.path("key").asText());
        signature.initSign(KeyFactory.getInstance("Ed25519")
                .generatePrivate(new EdECPrivateKeySpec(NamedParameterSpec.ED25519, seed)));
        signature.update("mnemolog/command/1".getBytes(StandardCharsets.US_ASCII));
        for (String name : List.of("ce_id", "ce_type", "tenant", "actor")) {
            prefixed(signature, headers.get(name).getBytes(StandardCharsets.UTF_8));
        }
        prefixed(signature, time.getBytes(StandardCharsets.UTF_8));
        prefixed(signature, MessageDigest.getInstance("SHA-256").digest(value));
        return Map.of("ce_time", time, "grant", key.path("grant").asText(), "signature",
                "ed25519:" + HexFormat.of().formatHex(signature.sign()));
    }

    private static void prefixed(Signature signature, byte[] part) throws Exception {
        signature.update(ByteBuffer.allocate(4).putInt(part.length).array());
        signature.update(part);
    }

    /** Publish one command and wait for its own outcome: the one whose source is this very offset. */
    JsonNode decided(String id, String type, int slot, Map<String, ?> target, List<?> parts) throws Exception {
        byte[] secret = new byte[32];
        random.nextBytes(secret); // for this command alone
        Map<String, Object> value = new LinkedHashMap<>();
        value.put("secret", HexFormat.of().formatHex(secret));
        value.put("target", target);
        value.put("parts", parts);
        byte[] bytes = JSON.writeValueAsBytes(value);
        ProducerRecord<String, byte[]> record = new ProducerRecord<>(
                commands, slot % partitions, Integer.toString(slot), bytes);
        Map<String, String> headers = Map.of("ce_specversion", "1.0", "ce_source", "example/java", "content-type",
                "application/json", "ce_id", id, "ce_type", type, "tenant", tenant, "actor",
                key == null ? "agent/java" : key.path("actor").asText());
        headers.forEach((name, text) -> record.headers().add(name, text.getBytes(StandardCharsets.UTF_8)));
        if (key != null) {
            signed(headers, bytes).forEach((name, text) -> record.headers().add(name, text.getBytes(StandardCharsets.UTF_8)));
        }
        RecordMetadata placed = producer.send(record).get();
        long deadline = System.nanoTime() + PATIENCE.toNanos();
        while (System.nanoTime() < deadline) {
            for (ConsumerRecord<String, byte[]> heard : consumer.poll(Duration.ofMillis(100))) {
                JsonNode outcome = JSON.readTree(heard.value());
                if (id.equals(heard.key()) && outcome.path("source").asText().endsWith(":" + placed.offset())) {
                    return outcome;
                }
            }
        }
        throw new IllegalStateException("no outcome for " + id + ": does a sequencer run?");
    }

    /** Publish a command, then repeat it: accepted, and the same acceptance again. */
    JsonNode twice(String type, int slot, String id, Map<String, ?> target, List<?> parts) throws Exception {
        JsonNode first = decided(id, type, slot, target, parts);
        check("accepted".equals(first.path("status").asText()), type + " is not accepted: " + first);
        JsonNode again = decided(id, type, slot, target, parts);
        check(again.path("repeated").asBoolean(), type + " is not recognised as a repeat: " + again);
        check(first.get("facts").equals(again.get("facts")), type + " has two acceptances");
        System.out.println(type + " " + first.get("facts"));
        return first;
    }

    static void check(boolean holds, String otherwise) {
        if (!holds) {
            throw new IllegalStateException(otherwise);
        }
    }

    @Override
    public void close() {
        producer.close();
        consumer.close();
    }

    public static void main(String[] arguments) throws Exception {
        String tenant = arguments[1];
        check(slotOf("acme", "support-bot", "user-é") == 758, "H is not what docs/routing-vectors.json says");
        check(slotIn("01a1ee56-5e7b-82f6-9107-b841a9b0cc2c") == 758, "the slot in an id is not what the vectors say");
        JsonNode key = arguments.length > 3 ? JSON.readTree(Path.of(arguments[3]).toFile()) : null;
        try (Publish publish = new Publish(arguments[0], tenant, arguments.length > 2 ? arguments[2] : "", key)) {
            String id = UUID.randomUUID().toString();
            JsonNode opened = publish.twice("space.create-space.v1", slotOf(tenant, "ann", id), id,
                    Map.of("user", "ann"), List.of(Map.of("description", "From Java")));
            String space = opened.at("/facts/0/subject").asText();
            JsonNode begun = publish.twice("session.create-session.v1", slotIn(space), UUID.randomUUID().toString(),
                    Map.of("space", space, "user", "ann"), List.of(Map.of("participants", List.of("ann"))));
            String session = begun.at("/facts/0/subject").asText();
            List<Object> events = new ArrayList<>();
            for (int n = 0; n < 3; n++) {
                events.add(Map.of("body", Map.of("content", "grüße " + n), "emitter", Map.of("type", "user", "id", "ann")));
            }
            JsonNode said = publish.twice("session.append-events.v1", slotIn(session), UUID.randomUUID().toString(),
                    Map.of("space", space, "user", "ann", "session", session), events);
            for (int n = 0; n < 3; n++) {
                check(("event/" + n).equals(said.at("/facts/" + n + "/subject").asText()), "sequence ids have a gap");
            }
            publish.twice("memory.add-memory.v1", slotOf(tenant, "java", "ann"), UUID.randomUUID().toString(),
                    Map.of("agent", "java", "invoker", "ann"), List.of(Map.of("content", "Ann likes ☕.")));
            JsonNode refused = publish.decided(UUID.randomUUID().toString(), "session.append-events.v1",
                    slotIn(session), Map.of("space", space, "user", "bob", "session", session), events);
            check("not-found".equals(refused.path("reason").asText()), "another user's session is open: " + refused);
            System.out.println("all is as the contract says");
        }
    }
}
