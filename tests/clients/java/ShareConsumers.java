// Java's share consumers (KIP-932) together: three share a topic out, release, renew, fail and come back, and every record is accepted once.
//
//     java -cp 'JARS/*' ShareConsumers.java BROKER

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.AcknowledgeType;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaShareConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicIdPartition;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

public class ShareConsumers {
    static final String TOPIC = "work";
    static final String GROUP = "crew";
    static final int PARTITIONS = 3;
    static final int RECORDS = 600;
    static final Duration POLL = Duration.ofMillis(500);
    static String bootstrap;

    public static void main(String[] arguments) throws Exception {
        bootstrap = arguments[0];
        try (Admin admin = Admin.create(properties())) {
            admin.createTopics(List.of(new NewTopic(TOPIC, PARTITIONS, (short) 1))).all().get();
            Map<TopicPartition, Long> beginnings = new HashMap<>();
            for (int partition = 0; partition < PARTITIONS; partition++) {
                beginnings.put(new TopicPartition(TOPIC, partition), 0L);
            }
            admin.alterShareGroupOffsets(GROUP, beginnings).all().get();
        }
        produce(0, RECORDS);
        everyRecordIsAcceptedOnce();
        aRecordThatIsRenewedStays();
        aLimitOfRecordsIsKept();
        System.out.println("OK");
    }

    // Three consumers, of which one goes without a word while it has records, accept all that is theirs; one in seven they release first.
    static void everyRecordIsAcceptedOnce() throws Exception {
        List<KafkaShareConsumer<String, String>> consumers = new ArrayList<>(List.of(consumer(), consumer(), consumer()));
        Map<String, Integer> accepted = new HashMap<>();
        Set<String> released = new HashSet<>();
        Set<KafkaShareConsumer<String, String>> busy = new HashSet<>();
        long deadline = System.currentTimeMillis() + 90_000;
        for (int round = 0; accepted.size() < RECORDS; round++) {
            check(System.currentTimeMillis() < deadline, accepted.size() + " of " + RECORDS + " records accepted in time");
            KafkaShareConsumer<String, String> consumer = consumers.get(round % consumers.size());
            List<String> said = new ArrayList<>();
            for (ConsumerRecord<String, String> record : consumer.poll(POLL)) {
                busy.add(consumer);
                if (record.value().hashCode() % 7 == 0 && released.add(record.value())) {
                    consumer.acknowledge(record, AcknowledgeType.RELEASE);
                } else {
                    consumer.acknowledge(record, AcknowledgeType.ACCEPT);
                    said.add(record.value());
                }
            }
            for (Map.Entry<TopicIdPartition, Optional<KafkaException>> result : consumer.commitSync().entrySet()) {
                check(result.getValue().isEmpty(), "acknowledging in " + result.getKey() + ": " + result.getValue());
            }
            said.forEach(value -> accepted.merge(value, 1, Integer::sum));
            if (round == 8) {
                // It has records, and says nothing of them: they come to the others.
                KafkaShareConsumer<String, String> leaver = consumers.remove(0);
                leaver.poll(POLL).forEach(record -> leaver.acknowledge(record, AcknowledgeType.RELEASE));
                leaver.close();
            }
        }
        check(accepted.values().stream().allMatch(count -> count == 1), "a record was accepted twice: " + accepted);
        check(busy.size() >= 2, "one consumer had all the work");
        consumers.forEach(KafkaShareConsumer::close);
    }

    static void aRecordThatIsRenewedStays() throws Exception {
        produce(RECORDS, 1);
        try (KafkaShareConsumer<String, String> one = consumer(); KafkaShareConsumer<String, String> other = consumer()) {
            ConsumerRecord<String, String> record = next(one);
            one.acknowledge(record, AcknowledgeType.RENEW);
            one.commitSync().forEach((at, error) -> check(error.isEmpty(), "renewing in " + at + ": " + error));
            check(other.poll(POLL).isEmpty(), "a record that is another's");
            one.poll(POLL);
            one.acknowledge(record, AcknowledgeType.REJECT);
            one.commitSync().forEach((at, error) -> check(error.isEmpty(), "rejecting in " + at + ": " + error));
            check(other.poll(POLL).isEmpty(), "a record that was rejected");
        }
    }

    static void aLimitOfRecordsIsKept() throws Exception {
        produce(RECORDS + 1, 50);
        Properties properties = consumerProperties();
        properties.put("share.acquire.mode", "record_limit");
        properties.put("max.poll.records", "7");
        Set<String> seen = new HashSet<>();
        try (KafkaShareConsumer<String, String> consumer = new KafkaShareConsumer<>(properties)) {
            consumer.subscribe(List.of(TOPIC));
            long deadline = System.currentTimeMillis() + 60_000;
            while (seen.size() < 50) {
                check(System.currentTimeMillis() < deadline, seen.size() + " of 50 records in time");
                var records = consumer.poll(POLL);
                check(records.count() <= 7, records.count() + " records at once");
                records.forEach(record -> {
                    check(seen.add(record.value()), record.value() + " came twice");
                    consumer.acknowledge(record, AcknowledgeType.ACCEPT);
                });
                consumer.commitSync();
            }
        }
    }

    static ConsumerRecord<String, String> next(KafkaShareConsumer<String, String> consumer) {
        for (int round = 0; round < 60; round++) {
            for (ConsumerRecord<String, String> record : consumer.poll(POLL)) {
                return record;
            }
        }
        throw new AssertionError("no record comes");
    }

    static void produce(int first, int count) throws Exception {
        Properties properties = properties();
        properties.put("linger.ms", "0");
        properties.put("batch.size", "600");
        try (var producer = new KafkaProducer<>(properties, new StringSerializer(), new StringSerializer())) {
            for (int number = first; number < first + count; number++) {
                producer.send(new ProducerRecord<>(TOPIC, "key " + number, "value " + number));
            }
        }
    }

    static KafkaShareConsumer<String, String> consumer() {
        var consumer = new KafkaShareConsumer<String, String>(consumerProperties());
        consumer.subscribe(List.of(TOPIC));
        return consumer;
    }

    static Properties consumerProperties() {
        Properties properties = properties();
        properties.put("group.id", GROUP);
        properties.put("share.acknowledgement.mode", "explicit");
        properties.put("max.poll.records", "40");
        properties.put("key.deserializer", StringDeserializer.class.getName());
        properties.put("value.deserializer", StringDeserializer.class.getName());
        return properties;
    }

    static Properties properties() {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        return properties;
    }

    static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }
}
