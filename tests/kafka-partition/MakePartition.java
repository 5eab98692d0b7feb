import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Fills the one partition that the tests of the log crate read: every codec, keys, headers, null values, several segments, and a committed, an
 * aborted and an unfinished transaction. What each record holds follows from its number, so that the tests can check it.
 */
public class MakePartition {
    static final String TOPIC = "written-by-kafka";
    static final long FIRST_TIMESTAMP = 1_700_000_000_000L;
    static final int PLAIN_RECORDS = 300;
    static final int CODEC_RECORDS = 200;
    static int number = 0;

    public static void main(String[] args) throws Exception {
        String servers = args[0];
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", servers))) {
            NewTopic topic = new NewTopic(TOPIC, Optional.of(1), Optional.of((short) 1));
            // Records at the start and the end of a codec are this far apart, so that each codec begins a segment.
            topic.configs(Map.of("segment.ms", "600000", "index.interval.bytes", "4096", "retention.ms", "-1"));
            admin.createTopics(List.of(topic)).all().get();
        }
        try (var producer = producer(servers, "none", Map.of())) {
            send(producer, PLAIN_RECORDS);
        }
        for (String codec : List.of("gzip", "snappy", "lz4", "zstd")) {
            nextSegment();
            try (var producer = producer(servers, codec, Map.of("enable.idempotence", "true"))) {
                send(producer, CODEC_RECORDS);
            }
        }
        nextSegment();
        try (var producer = producer(servers, "none", Map.of("enable.idempotence", "true", "transactional.id", "tests"))) {
            producer.initTransactions();
            for (boolean commit : new boolean[] {true, false}) {
                producer.beginTransaction();
                send(producer, 5);
                if (commit) producer.commitTransaction(); else producer.abortTransaction();
            }
            nextSegment();
            producer.beginTransaction();
            send(producer, 5);
            producer.flush();
            Runtime.getRuntime().halt(0); // The transaction stays open.
        }
    }

    static long segment = 0;

    static void nextSegment() {
        segment++;
    }

    static KafkaProducer<byte[], byte[]> producer(String servers, String codec, Map<String, String> more) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", servers);
        properties.put("compression.type", codec);
        properties.put("enable.idempotence", "false");
        properties.put("max.in.flight.requests.per.connection", "1");
        properties.put("batch.size", "4000");
        properties.put("linger.ms", "50");
        properties.put("acks", "all");
        properties.putAll(more);
        return new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer());
    }

    static void send(KafkaProducer<byte[], byte[]> producer, int count) throws Exception {
        for (int i = 0; i < count; i++, number++) {
            byte[] key = number % 3 == 0 ? null : ("key-" + number % 10).getBytes(StandardCharsets.UTF_8);
            byte[] value = number % 7 == 0 ? null : ("value " + number + " ").repeat(number % 20).getBytes(StandardCharsets.UTF_8);
            var record = new ProducerRecord<>(TOPIC, 0, FIRST_TIMESTAMP + segment * 3_600_000 + number, key, value);
            if (number % 5 == 0) {
                record.headers().add("number", Integer.toString(number).getBytes(StandardCharsets.UTF_8));
            }
            producer.send(record);
        }
        producer.flush();
    }
}
