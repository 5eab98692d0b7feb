// A word count with Kafka Streams, and what it takes to check it to the last word. Driven by word_count.py.
//
//     WordCount topics BROKER                                  makes the topics
//     WordCount feed BROKER FROM COUNT PER_SECOND              writes lines FROM to FROM + COUNT, exactly once
//     WordCount app BROKER PROTOCOL GUARANTEE STATE STANDBYS   counts until it is ended; "running" when it first runs
//     WordCount check BROKER LINES SECONDS exact|last          waits for the counts of so many lines and compares
//
// The words of a line follow from its number, so that every count is known. Nothing is cached: each word that is read becomes one record of the
// output, so that the counts of a word are 1, 2, 3 and so on. One that stands twice, or is missing, was counted twice, or lost.

import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.serialization.LongDeserializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;

public class WordCount {
    static final int PARTITIONS = 4;
    static final int WORDS = 40;
    static final int WORDS_OF_A_LINE = 5;
    /** A broker that is killed costs a thread now and then; one that cannot serve the protocol costs every one of them at once. */
    static final int REPLACED_THREADS_MAX = 50;
    static String broker;

    public static void main(String[] arguments) throws Exception {
        broker = arguments[1];
        switch (arguments[0]) {
            case "topics" -> topics();
            case "feed" -> feed(number(arguments[2]), number(arguments[3]), number(arguments[4]));
            case "app" -> app(arguments[2], arguments[3], arguments[4], number(arguments[5]));
            case "check" -> check(number(arguments[2]), number(arguments[3]), arguments[4].equals("exact"));
            default -> throw new IllegalArgumentException(arguments[0]);
        }
    }

    static int number(String text) {
        return Integer.parseInt(text);
    }

    static String word(int line, int at) {
        // A line's words are spread unevenly, and each twice as common as some other.
        return "word-" + Math.min((line * 7 + at * 13) % WORDS, (line * 31 + at * 17) % WORDS);
    }

    static List<String> words(int line) {
        return IntStream.range(0, WORDS_OF_A_LINE).mapToObj(at -> word(line, at)).toList();
    }

    static void topics() throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", broker))) {
            for (String name : List.of("lines", "counts")) {
                try {
                    admin.createTopics(List.of(new NewTopic(name, PARTITIONS, (short) 1))).all().get();
                } catch (ExecutionException failure) {
                    if (!(failure.getCause() instanceof TopicExistsException)) throw failure;
                }
            }
        }
    }

    static void feed(int from, int count, int perSecond) throws Exception {
        Properties config = new Properties();
        config.put("bootstrap.servers", broker);
        config.put("enable.idempotence", "true");
        config.put("delivery.timeout.ms", "300000");
        config.put("linger.ms", "5");
        long began = System.nanoTime();
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
            for (int line = from; line < from + count; line++) {
                producer.send(new ProducerRecord<>("lines", line % PARTITIONS, null, String.join(" ", words(line))), (at, failure) -> {
                    if (failure != null) {
                        System.err.println("a line was not written: " + failure);
                        Runtime.getRuntime().halt(1);
                    }
                });
                long dueMs = (line - from) * 1000L / perSecond - (System.nanoTime() - began) / 1_000_000;
                if (dueMs > 0) Thread.sleep(dueMs);
            }
        }
        System.out.println("fed " + count);
    }

    static void app(String protocol, String guarantee, String state, int standbys) throws Exception {
        Properties config = new Properties();
        config.put("application.id", "word-count");
        config.put("bootstrap.servers", broker);
        config.put("group.protocol", protocol);
        config.put("processing.guarantee", guarantee);
        config.put("state.dir", state);
        config.put("num.stream.threads", "2");
        // The new protocol knows it by the group's config.
        if (protocol.equals("classic")) config.put("num.standby.replicas", String.valueOf(standbys));
        config.put("commit.interval.ms", "100");
        config.put("statestore.cache.max.bytes", "0");
        config.put("default.key.serde", Serdes.StringSerde.class);
        config.put("default.value.serde", Serdes.StringSerde.class);
        config.put("consumer.auto.offset.reset", "earliest");
        config.put("consumer.metadata.max.age.ms", "2000");
        if (protocol.equals("classic")) {
            config.put("consumer.session.timeout.ms", "6000");
            config.put("consumer.heartbeat.interval.ms", "500");
        }
        config.put("producer.transaction.timeout.ms", "10000");
        StreamsBuilder builder = new StreamsBuilder();
        builder.<String, String>stream("lines")
            .flatMapValues(line -> List.of(line.toLowerCase(Locale.ROOT).split(" ")))
            .groupBy((key, word) -> word, Grouped.as("by-word"))
            .count(Materialized.as("counts-store"))
            .toStream()
            .to("counts", Produced.with(Serdes.String(), Serdes.Long()));
        KafkaStreams streams = new KafkaStreams(builder.build(), config);
        AtomicInteger replaced = new AtomicInteger();
        CountDownLatch ended = new CountDownLatch(1);
        streams.setUncaughtExceptionHandler(failure -> {
            System.err.println("a thread is replaced: " + failure);
            return replaced.incrementAndGet() > REPLACED_THREADS_MAX
                ? StreamThreadExceptionResponse.SHUTDOWN_CLIENT
                : StreamThreadExceptionResponse.REPLACE_THREAD;
        });
        streams.setStateListener((now, before) -> {
            System.out.println(now.name().toLowerCase(Locale.ROOT));
            if (now == KafkaStreams.State.ERROR || now == KafkaStreams.State.NOT_RUNNING) ended.countDown();
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(30))));
        streams.start();
        ended.await();
    }

    static void check(int lines, int seconds, boolean exact) {
        Map<String, Long> expected = new TreeMap<>();
        for (int line = 0; line < lines; line++) words(line).forEach(word -> expected.merge(word, 1L, Long::sum));
        long total = expected.values().stream().mapToLong(Long::longValue).sum();
        Properties config = new Properties();
        config.put("bootstrap.servers", broker);
        config.put("isolation.level", "read_committed");
        config.put("auto.offset.reset", "earliest");
        Map<String, Long> found = new HashMap<>();
        long seen = 0;
        int faults = 0;
        long deadline = System.nanoTime() + seconds * 1_000_000_000L;
        try (KafkaConsumer<String, Long> consumer = new KafkaConsumer<>(config, new StringDeserializer(), new LongDeserializer())) {
            consumer.assign(IntStream.range(0, PARTITIONS).mapToObj(partition -> new TopicPartition("counts", partition)).toList());
            // Once all is there, a moment more: what comes then was counted twice.
            long until = deadline;
            while (System.nanoTime() < until) {
                for (ConsumerRecord<String, Long> record : consumer.poll(Duration.ofMillis(500))) {
                    seen++;
                    long before = found.getOrDefault(record.key(), 0L);
                    if (exact && record.value() != before + 1 && faults++ < 20) {
                        System.out.printf("%s was %d and is %d (partition %d, offset %d)%n",
                            record.key(), before, record.value(), record.partition(), record.offset());
                    }
                    found.merge(record.key(), record.value(), Math::max);
                }
                if (until == deadline && found.equals(expected)) until = Math.min(deadline, System.nanoTime() + 3_000_000_000L);
            }
        }
        for (String word : expected.keySet()) {
            if (!expected.get(word).equals(found.get(word)) && faults++ < 20) {
                System.out.printf("%s: %d expected, %d found%n", word, expected.get(word), found.getOrDefault(word, 0L));
            }
        }
        System.out.printf("%d words in %d records, %d faults%n", total, seen, faults);
        System.exit(faults == 0 ? 0 : 1);
    }
}
