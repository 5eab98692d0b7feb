// Transactions of the Java client against a running broker: what is committed is read, what is aborted is not, a position and its results go
// together, a producer that was replaced is shut out, and the admin client sees it all.
//
//     java -cp 'JARS/*' Transactions.java BROKER

import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.TransactionState;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.InvalidProducerEpochException;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

public class Transactions {
    static final int TRANSACTIONS = 60;
    static final int RECORDS = 10;
    static String broker;

    public static void main(String[] arguments) throws Exception {
        broker = arguments[0];
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", broker))) {
            List<NewTopic> topics = List.of("numbers", "copies").stream().map(name -> new NewTopic(name, 3, (short) 1)).toList();
            admin.createTopics(topics).all().get();
            commitsAndAborts();
            copies();
            replaced(admin);
        }
        System.out.println("ok");
    }

    /** Every third transaction is aborted. */
    static void commitsAndAborts() {
        List<String> committed = new ArrayList<>();
        try (KafkaProducer<String, String> producer = producer("writer")) {
            producer.initTransactions();
            for (int transaction = 0; transaction < TRANSACTIONS; transaction++) {
                boolean commits = transaction % 3 != 2;
                producer.beginTransaction();
                for (int number = 0; number < RECORDS; number++) {
                    String value = transaction + "." + number;
                    producer.send(new ProducerRecord<>("numbers", number % 3, null, value));
                    if (commits) committed.add(value);
                }
                if (commits) producer.commitTransaction();
                else {
                    if (transaction % 2 == 0) producer.flush();
                    producer.abortTransaction();
                }
            }
        }
        expect(sorted(read("numbers", "read_committed", committed.size())), sorted(committed), "read_committed");
        List<String> all = read("numbers", "read_uncommitted", committed.size());
        if (all.size() < committed.size()) throw new AssertionError("read_uncommitted has less than read_committed");
    }

    /** Read, process, write: each record once, though every fourth attempt is given up and begun again. */
    static void copies() {
        List<String> expected = read("numbers", "read_committed", TRANSACTIONS * RECORDS * 2 / 3);
        int copied = 0;
        try (KafkaConsumer<String, String> consumer = consumer("read_committed", "copier");
             KafkaProducer<String, String> producer = producer("copier")) {
            producer.initTransactions();
            consumer.subscribe(List.of("numbers"));
            for (int attempt = 0; copied < expected.size(); attempt++) {
                List<ConsumerRecord<String, String>> records = new ArrayList<>();
                consumer.poll(Duration.ofMillis(500)).forEach(records::add);
                if (records.isEmpty()) continue;
                producer.beginTransaction();
                Map<TopicPartition, OffsetAndMetadata> positions = new HashMap<>();
                for (ConsumerRecord<String, String> record : records) {
                    producer.send(new ProducerRecord<>("copies", record.partition(), null, record.value()));
                    positions.put(new TopicPartition("numbers", record.partition()), new OffsetAndMetadata(record.offset() + 1));
                }
                producer.sendOffsetsToTransaction(positions, consumer.groupMetadata());
                if (attempt % 4 == 1) {
                    producer.abortTransaction();
                    Map<TopicPartition, OffsetAndMetadata> known = consumer.committed(consumer.assignment());
                    for (TopicPartition at : consumer.assignment()) {
                        consumer.seek(at, known.get(at) == null ? 0 : known.get(at).offset());
                    }
                } else {
                    producer.commitTransaction();
                    copied += records.size();
                }
            }
        }
        expect(sorted(read("copies", "read_committed", expected.size())), sorted(expected), "copies");
    }

    /** A second producer with the same transactional id: the first one must stop, and what it had open is aborted. */
    static void replaced(Admin admin) throws Exception {
        try (KafkaProducer<String, String> first = producer("twice"); KafkaProducer<String, String> second = producer("twice")) {
            first.initTransactions();
            first.beginTransaction();
            first.send(new ProducerRecord<>("numbers", 0, null, "of the first")).get();
            expect(admin.describeTransactions(List.of("twice")).description("twice").get().state(), TransactionState.ONGOING, "state");
            TopicPartition at = new TopicPartition("numbers", 0);
            long open = admin.describeProducers(List.of(at)).partitionResult(at).get().activeProducers().stream()
                .filter(producer -> producer.currentTransactionStartOffset().isPresent()).count();
            expect(open, 1L, "producers with an open transaction");
            second.initTransactions();
            try {
                first.send(new ProducerRecord<>("numbers", 0, null, "too late")).get();
                first.commitTransaction();
                throw new AssertionError("the first producer still commits");
            } catch (ProducerFencedException | InvalidProducerEpochException expected) {
            } catch (Exception failed) {
                Throwable cause = failed.getCause();
                if (!(cause instanceof ProducerFencedException || cause instanceof InvalidProducerEpochException)) throw failed;
            }
            second.beginTransaction();
            second.send(new ProducerRecord<>("numbers", 0, null, "of the second"));
            second.commitTransaction();
            long listed = admin.listTransactions().all().get().stream()
                .filter(listing -> List.of("writer", "copier", "twice").contains(listing.transactionalId())).count();
            expect(listed, 3L, "listed transactional ids");
        }
        List<String> read = read("numbers", "read_committed", TRANSACTIONS * RECORDS * 2 / 3 + 1);
        expect(read.contains("of the second"), true, "the second's record");
        expect(read.contains("of the first"), false, "the first's record");
    }

    static KafkaProducer<String, String> producer(String id) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", broker);
        properties.put("transactional.id", id);
        properties.put("transaction.timeout.ms", "30000");
        return new KafkaProducer<>(properties, new StringSerializer(), new StringSerializer());
    }

    static KafkaConsumer<String, String> consumer(String isolation, String group) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", broker);
        properties.put("isolation.level", isolation);
        properties.put("auto.offset.reset", "earliest");
        properties.put("enable.auto.commit", "false");
        properties.put("max.poll.records", "40");
        if (group != null) properties.put("group.id", group);
        return new KafkaConsumer<>(properties, new StringDeserializer(), new StringDeserializer());
    }

    /** All values of a topic; waits for as many as are expected, then whether more come. */
    static List<String> read(String topic, String isolation, int expected) {
        List<String> values = new ArrayList<>();
        try (KafkaConsumer<String, String> consumer = consumer(isolation, null)) {
            List<TopicPartition> partitions = IntStream.range(0, 3).mapToObj(partition -> new TopicPartition(topic, partition)).toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            long deadline = System.nanoTime() + Duration.ofSeconds(30).toNanos();
            for (int idle = 0; idle < 3 && System.nanoTime() < deadline; ) {
                int before = values.size();
                consumer.poll(Duration.ofMillis(300)).forEach(record -> values.add(record.value()));
                if (values.size() >= expected && values.size() == before) idle++;
            }
        }
        return values;
    }

    static List<String> sorted(List<String> values) {
        return values.stream().sorted().collect(Collectors.toList());
    }

    static void expect(Object found, Object expected, String what) {
        if (!found.equals(expected)) throw new AssertionError(what + ": " + found + ", expected " + expected);
    }
}
