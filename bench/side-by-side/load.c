/* A neutral load client on librdkafka: one run, one JSON line of figures.
 *
 * Latency counts from the moment a record was DUE (open loop), so a stalled broker is charged for the records that had to wait; at full
 * speed (no -r) from the moment the client accepted the record. Percentiles come from a histogram with 64 steps per power of two (error
 * at most 1.6 %), never from averages of averages.
 *
 *   load produce -b HOST:PORT -t TOPIC -p PARTITIONS [-s BYTES] (-n RECORDS | -d SECONDS) [-r RECORDS_PER_S] [-j PRODUCERS] [-k]
 *   load consume -b HOST:PORT -t TOPIC -p PARTITIONS -n RECORDS             assigns all partitions from the beginning, no group
 *   load e2e     -b HOST:PORT -t TOPIC -p PARTITIONS -d SECONDS -r RECORDS_PER_S [-s BYTES] [-j PRODUCERS] [-k]
 *   load first   -b HOST:PORT -t TOPIC                                      time until one record is acknowledged; start it before the broker
 *   load create|delete -b HOST:PORT -t TOPIC [-p PARTITIONS] [-X TOPIC_CONFIG=VALUE]...
 *
 * -X KEY=VALUE librdkafka property of the producer, -C of the consumer; -k random keys; -w SECONDS leaves the start out of rate and latency.
 * Build: cc -O2 load.c -lrdkafka -lpthread -o load
 */
#include <inttypes.h>
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define STEPS 64 /* per power of two */
#define SLOTS (40 * STEPS)
#define PROPERTIES_MAX 64
#define PRODUCERS_MAX 1024
#define CONSUME_BATCH 1024
#define IDLE_GIVE_UP_US 20000000

typedef struct {
    atomic_uint_fast64_t count[SLOTS], total, sum, max;
} histogram;

typedef struct {
    char *pair[PROPERTIES_MAX];
    int count;
} properties;

static struct {
    const char *broker, *topic, *mode;
    int partitions, record_bytes, seconds, producers, keyed, warm_s;
    long records, rate;
    properties producer, consumer;
} options = {.broker = "127.0.0.1:9092", .topic = "load", .partitions = 1, .record_bytes = 1024, .producers = 1};

static histogram latency_us;
static atomic_long acked, failed, acked_bytes, warm_acked, warm_bytes, received, received_bytes;
static atomic_long first_event_us, last_event_us, first_warm_us;
static atomic_int stopping, consumer_ready;
static int64_t start_us;

static int64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static int mode_is(const char *name) { return !strcmp(options.mode, name); }

static void die(const char *what, const char *why) {
    fprintf(stderr, "load: %s: %s\n", what, why);
    exit(1);
}

/* ── histogram ─────────────────────────────────────────────────────────────────────────────────────────────────── */

static int slot_of(uint64_t value) {
    if (value < STEPS) return (int)value;
    int power = 63 - __builtin_clzll(value);
    int slot = (power - 5) * STEPS + (int)((value >> (power - 6)) - STEPS);
    return slot < SLOTS ? slot : SLOTS - 1;
}

static uint64_t highest_in(int slot) {
    if (slot < STEPS) return slot;
    int power = slot / STEPS + 5;
    return ((uint64_t)(slot % STEPS + STEPS) << (power - 6)) + ((1ULL << (power - 6)) - 1);
}

static void record(histogram *h, int64_t value) {
    if (value < 0) value = 0;
    h->count[slot_of(value)]++;
    h->total++;
    h->sum += value;
    uint64_t max = h->max;
    while ((uint64_t)value > max && !atomic_compare_exchange_weak(&h->max, &max, value)) {
    }
}

static double percentile_ms(histogram *h, double fraction) {
    uint64_t wanted = (uint64_t)(h->total * fraction + 0.999999), seen = 0;
    if (!h->total) return -1;
    for (int i = 0; i < SLOTS; i++) {
        seen += h->count[i];
        if (seen >= wanted) return (highest_in(i) > h->max ? h->max : highest_in(i)) / 1000.0;
    }
    return h->max / 1000.0;
}

/* ── librdkafka ────────────────────────────────────────────────────────────────────────────────────────────────── */

static rd_kafka_conf_t *configuration(const properties *extra) {
    char error[512];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers", options.broker, error, sizeof error);
    rd_kafka_conf_set(conf, "broker.address.family", "v4", error, sizeof error);
    rd_kafka_conf_set(conf, "message.max.bytes", "100000000", error, sizeof error);
    for (int i = 0; extra && i < extra->count; i++) {
        char key[256];
        snprintf(key, sizeof key, "%s", extra->pair[i]);
        char *equals = strchr(key, '=');
        if (!equals) die("want KEY=VALUE", key);
        *equals = 0;
        if (rd_kafka_conf_set(conf, key, equals + 1, error, sizeof error) != RD_KAFKA_CONF_OK) die(extra->pair[i], error);
    }
    return conf;
}

static rd_kafka_t *client(rd_kafka_type_t type, rd_kafka_conf_t *conf) {
    char error[512];
    rd_kafka_t *handle = rd_kafka_new(type, conf, error, sizeof error);
    if (!handle) die("client", error);
    return handle;
}

static void delivered(rd_kafka_t *handle, const rd_kafka_message_t *message, void *opaque) {
    (void)handle, (void)opaque;
    if (message->err) {
        failed++;
        return;
    }
    int64_t at = now_us(), due = (int64_t)(intptr_t)message->_private;
    long none = 0, bytes = message->len + message->key_len;
    atomic_compare_exchange_strong(&first_event_us, &none, at);
    last_event_us = at;
    acked++;
    acked_bytes += bytes;
    if (due - start_us < options.warm_s * 1000000LL) return;
    none = 0;
    atomic_compare_exchange_strong(&first_warm_us, &none, at);
    warm_acked++;
    warm_bytes += bytes;
    if (!mode_is("e2e")) record(&latency_us, at - due);
}

/* Sends all that is due, waking at most every 0.3 ms. */
static void wait_until(rd_kafka_t *handle, int64_t due) {
    for (int64_t now; (now = now_us()) < due;) {
        int64_t wait = due - now;
        rd_kafka_poll(handle, 0);
        usleep(wait < 300 ? 300 : wait > 1000 ? 1000 : wait);
    }
}

static void *produce(void *argument) {
    long id = (long)argument, sent = 0;
    rd_kafka_conf_t *conf = configuration(&options.producer);
    rd_kafka_conf_set_dr_msg_cb(conf, delivered);
    rd_kafka_t *handle = client(RD_KAFKA_PRODUCER, conf);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(handle, options.topic, NULL);
    char *value = malloc(options.record_bytes), key[32];
    unsigned seed = 12345 + id;
    for (int i = 0; i < options.record_bytes; i++) value[i] = (char)(32 + rand_r(&seed) % 90);

    long mine = options.records / options.producers + (id < options.records % options.producers);
    double gap_us = options.rate ? 1e6 * options.producers / options.rate : 0;
    int64_t begin = now_us() + (int64_t)(gap_us * id / options.producers);
    int64_t end = options.seconds ? start_us + options.seconds * 1000000LL : INT64_MAX;
    while (!options.records || sent < mine) {
        int64_t due = options.rate ? begin + (int64_t)(sent * gap_us) : now_us();
        if (due >= end) break;
        if (options.rate) wait_until(handle, due);
        memcpy(value, &due, 8);
        int key_bytes = options.keyed ? snprintf(key, sizeof key, "key-%08x", rand_r(&seed) % 1000000) : 0;
        int partition = options.keyed ? RD_KAFKA_PARTITION_UA : (int)((sent + id) % options.partitions);
        while (due < end && rd_kafka_produce(topic, partition, RD_KAFKA_MSG_F_COPY, value, options.record_bytes,
                                             options.keyed ? key : NULL, key_bytes, (void *)(intptr_t)due) == -1) {
            if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL) die("produce", rd_kafka_err2str(rd_kafka_last_error()));
            rd_kafka_poll(handle, 20);
            if (!options.rate) {
                due = now_us();
                memcpy(value, &due, 8);
            }
        }
        sent++;
        if (!(sent & 63)) rd_kafka_poll(handle, 0);
    }
    rd_kafka_flush(handle, 60000);
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(handle);
    free(value);
    return NULL;
}

static void *consume(void *argument) {
    (void)argument;
    rd_kafka_conf_t *conf = configuration(&options.consumer);
    char error[512];
    rd_kafka_conf_set(conf, "group.id", "load", error, sizeof error);
    rd_kafka_conf_set(conf, "enable.auto.commit", "false", error, sizeof error);
    rd_kafka_t *handle = client(RD_KAFKA_CONSUMER, conf);
    rd_kafka_topic_partition_list_t *all = rd_kafka_topic_partition_list_new(options.partitions);
    for (int i = 0; i < options.partitions; i++)
        rd_kafka_topic_partition_list_add(all, options.topic, i)->offset = RD_KAFKA_OFFSET_BEGINNING;
    rd_kafka_assign(handle, all);
    rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(handle);
    rd_kafka_message_t *batch[CONSUME_BATCH];
    int end_to_end = mode_is("e2e");
    int64_t last_us = now_us();
    consumer_ready = 1;
    while (end_to_end ? !(stopping && received >= acked) : received < options.records) {
        ssize_t count = rd_kafka_consume_batch_queue(queue, end_to_end ? 5 : 200, batch, CONSUME_BATCH);
        int64_t at = now_us();
        for (ssize_t i = 0; i < count; i++) {
            if (!batch[i]->err) {
                long none = 0;
                atomic_compare_exchange_strong(&first_event_us, &none, at);
                received++;
                received_bytes += batch[i]->len + batch[i]->key_len;
                last_us = at;
                if (end_to_end) {
                    int64_t due;
                    memcpy(&due, batch[i]->payload, 8);
                    if (due - start_us >= options.warm_s * 1000000LL) record(&latency_us, at - due);
                } else {
                    last_event_us = at;
                }
            }
            rd_kafka_message_destroy(batch[i]);
        }
        if (now_us() - last_us > IDLE_GIVE_UP_US && (stopping || !end_to_end)) {
            fprintf(stderr, "load: nothing to consume for 20 s after %ld records\n", (long)received);
            break;
        }
    }
    rd_kafka_queue_destroy(queue);
    rd_kafka_consumer_close(handle);
    rd_kafka_destroy(handle);
    rd_kafka_topic_partition_list_destroy(all);
    return NULL;
}

static int change_topic(int delete) {
    char error[512];
    rd_kafka_t *handle = client(RD_KAFKA_PRODUCER, configuration(NULL));
    rd_kafka_queue_t *queue = rd_kafka_queue_new(handle);
    if (delete) {
        rd_kafka_DeleteTopic_t *topic = rd_kafka_DeleteTopic_new(options.topic);
        rd_kafka_DeleteTopics(handle, &topic, 1, NULL, queue);
        rd_kafka_DeleteTopic_destroy(topic);
    } else {
        rd_kafka_NewTopic_t *topic = rd_kafka_NewTopic_new(options.topic, options.partitions, -1, error, sizeof error);
        if (!topic) die(options.topic, error);
        for (int i = 0; i < options.producer.count; i++) {
            char *equals = strchr(options.producer.pair[i], '=');
            if (!equals) die("want KEY=VALUE", options.producer.pair[i]);
            *equals = 0;
            rd_kafka_NewTopic_set_config(topic, options.producer.pair[i], equals + 1);
        }
        rd_kafka_CreateTopics(handle, &topic, 1, NULL, queue);
        rd_kafka_NewTopic_destroy(topic);
    }
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, 30000);
    if (!event || rd_kafka_event_error(event)) die(options.topic, event ? rd_kafka_event_error_string(event) : "no answer");
    size_t count = 0;
    const rd_kafka_topic_result_t **results =
        delete ? rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(event), &count)
               : rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &count);
    int bad = 0;
    for (size_t i = 0; i < count; i++)
        if (rd_kafka_topic_result_error(results[i])) {
            fprintf(stderr, "load: %s: %s\n", options.topic, rd_kafka_topic_result_error_string(results[i]));
            bad = 1;
        }
    rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(handle);
    return bad;
}

/* ── one run ───────────────────────────────────────────────────────────────────────────────────────────────────── */

static void parse(int argc, char **argv) {
    options.mode = argv[1];
    for (int option; (option = getopt(argc - 1, argv + 1, "b:t:p:s:n:d:r:j:kw:X:C:")) != -1;) switch (option) {
        case 'b': options.broker = optarg; break;
        case 't': options.topic = optarg; break;
        case 'p': options.partitions = atoi(optarg); break;
        case 's': options.record_bytes = atoi(optarg) < 8 ? 8 : atoi(optarg); break;
        case 'n': options.records = atol(optarg); break;
        case 'd': options.seconds = atoi(optarg); break;
        case 'r': options.rate = atol(optarg); break;
        case 'j': options.producers = atoi(optarg); break;
        case 'k': options.keyed = 1; break;
        case 'w': options.warm_s = atoi(optarg); break;
        case 'X': options.producer.pair[options.producer.count++ % PROPERTIES_MAX] = optarg; break;
        case 'C': options.consumer.pair[options.consumer.count++ % PROPERTIES_MAX] = optarg; break;
        default: exit(2);
        }
    if (options.producers > PRODUCERS_MAX) die("-j", "at most 1024 producers");
}

/* One record as early as the broker takes it: no lingering, reconnects every few milliseconds. */
static void ask_for_first_ack(void) {
    static char *eager[] = {"linger.ms=0", "reconnect.backoff.ms=2", "reconnect.backoff.max.ms=10",
                            "topic.metadata.refresh.fast.interval.ms=5", "retry.backoff.ms=5", "log_level=0"};
    options.records = options.producers = 1;
    options.seconds = 0;
    options.mode = "produce";
    for (size_t i = 0; i < sizeof eager / sizeof *eager; i++) options.producer.pair[options.producer.count++] = eager[i];
}

static void report(int consumed) {
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    int warm = options.warm_s && !consumed;
    double elapsed = (now_us() - start_us) / 1e6;
    double span = (last_event_us - (warm ? first_warm_us : consumed ? first_event_us : start_us)) / 1e6;
    if (span <= 0) span = elapsed;
    long records = consumed ? received : warm ? warm_acked : acked, bytes = consumed ? received_bytes : warm ? warm_bytes : acked_bytes;
    printf("{\"mode\":\"%s\",\"records\":%ld,\"bytes\":%ld,\"all_bytes\":%ld,\"failed\":%ld,\"received\":%ld,\"secs\":%.3f,\"elapsed\":%.3f,"
           "\"mb_s\":%.2f,\"rec_s\":%.0f,\"first_ms\":%.2f,\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"p999_ms\":%.3f,\"max_ms\":%.3f,\"client_cpu_s\":%.3f}\n",
           options.mode, records, bytes, (long)(consumed ? received_bytes : acked_bytes), (long)failed, (long)received, span, elapsed,
           bytes / span / 1e6, records / span, (first_event_us - start_us) / 1e3, percentile_ms(&latency_us, .5), percentile_ms(&latency_us, .99),
           percentile_ms(&latency_us, .999), latency_us.total ? latency_us.max / 1000.0 : -1,
           use.ru_utime.tv_sec + use.ru_stime.tv_sec + (use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6);
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: load produce|consume|e2e|first|create|delete ... (see the head of load.c)\n");
        return 2;
    }
    parse(argc, argv);
    if (mode_is("create") || mode_is("delete")) return change_topic(mode_is("delete"));
    if (mode_is("first")) ask_for_first_ack();

    pthread_t producer[PRODUCERS_MAX], consumer;
    int consumes = mode_is("consume") || mode_is("e2e");
    start_us = now_us();
    if (consumes) {
        pthread_create(&consumer, NULL, consume, NULL);
        while (!consumer_ready) usleep(1000);
    }
    if (mode_is("e2e")) {
        sleep(1); /* until the consumer's fetches are parked */
        start_us = now_us();
    }
    if (!mode_is("consume")) {
        for (long i = 0; i < options.producers; i++) pthread_create(&producer[i], NULL, produce, (void *)i);
        for (int i = 0; i < options.producers; i++) pthread_join(producer[i], NULL);
    }
    stopping = 1;
    if (consumes) pthread_join(consumer, NULL);
    report(mode_is("consume"));
    return failed || (mode_is("e2e") && received < acked);
}
