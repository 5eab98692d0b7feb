// A Kafka client in Go for the tests: produces records of every shape with franz-go, reads them back by partition and compares.
//
//	franz BROKER TOPIC CODEC ACKS     CODEC: none gzip snappy lz4 zstd    ACKS: 0 1 all idempotent
//	franz BROKER TOPIC group N        N members of one group share the records
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	partitions = 3
	records    = 500
	// Ten times what the slowest machine needed; a hang ends here.
	limit = 60 * time.Second
)

func main() {
	if len(os.Args) != 5 {
		fail("usage: franz BROKER TOPIC CODEC ACKS")
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	broker, topic := os.Args[1], os.Args[2]

	if os.Args[3] == "group" {
		share(ctx, broker, topic, os.Args[4])
		return
	}
	sent := produce(ctx, broker, topic, os.Args[3], os.Args[4])
	compare(sent, consume(ctx, broker, topic))
	fmt.Printf("%d records, %s, acks %s: equal\n", records, os.Args[3], os.Args[4])
}

// produce creates the topic and returns its records by partition, in the order in which they were sent.
func produce(ctx context.Context, broker, topic, codec, acks string) map[int32][]*kgo.Record {
	options := []kgo.Opt{
		kgo.SeedBrokers(broker),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(codecs()[codec]),
		kgo.MaxBufferedRecords(records + 1),
	}
	switch acks {
	case "0":
		options = append(options, kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite())
	case "1":
		options = append(options, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	case "all":
		options = append(options, kgo.DisableIdempotentWrite())
	}
	client := connect(options...)
	defer client.Close()
	if _, err := kadm.NewClient(client).CreateTopic(ctx, partitions, 1, nil, topic); err != nil {
		fail("create %s: %v", topic, err)
	}

	sent := map[int32][]*kgo.Record{}
	failed := make(chan error, records)
	for i := 0; i < records; i++ {
		record := shape(topic, i)
		sent[record.Partition] = append(sent[record.Partition], record)
		client.Produce(ctx, record, func(_ *kgo.Record, err error) { failed <- err })
	}
	for i := 0; i < records; i++ {
		if err := <-failed; err != nil {
			fail("produce: %v", err)
		}
	}
	return sent
}

// shape gives the i-th record: with and without key, value and headers, small and large, with a timestamp of its own.
func shape(topic string, i int) *kgo.Record {
	record := &kgo.Record{Topic: topic, Partition: int32(i % partitions), Timestamp: time.UnixMilli(1_700_000_000_000 + int64(i)*7)}
	if i%3 != 0 {
		record.Key = []byte(fmt.Sprintf("key-%d\x00\xff", i))
	}
	switch i % 5 {
	case 0: // no value: a tombstone
	case 1:
		record.Value = []byte{}
	case 2:
		record.Value = bytes.Repeat([]byte{byte(i), 0xff, 0}, 5_000)
	default:
		record.Value = []byte(fmt.Sprintf("value %d", i))
	}
	for h := 0; h < i%4; h++ {
		record.Headers = append(record.Headers, kgo.RecordHeader{Key: "h", Value: []byte{byte(h), 0}})
	}
	return record
}

// consume reads every partition from its start until all records are there.
func consume(ctx context.Context, broker, topic string) map[int32][]*kgo.Record {
	assigned := map[int32]kgo.Offset{}
	for p := int32(0); p < partitions; p++ {
		assigned[p] = kgo.NewOffset().AtStart()
	}
	client := connect(kgo.SeedBrokers(broker), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: assigned}))
	defer client.Close()
	got, count := map[int32][]*kgo.Record{}, 0
	for count < records {
		fetches := client.PollFetches(ctx)
		if errs := fetches.Errors(); len(errs) > 0 {
			fail("fetch after %d records: %v", count, errs[0].Err)
		}
		fetches.EachRecord(func(record *kgo.Record) {
			got[record.Partition] = append(got[record.Partition], record)
			count++
		})
	}
	return got
}

// share lets members of one group read the topic, then one that comes when all are gone, which must find nothing left.
func share(ctx context.Context, broker, topic, members string) {
	sent := produce(ctx, broker, topic, "none", "all")
	read := make(chan *kgo.Record, 2*records)
	count, _ := strconv.Atoi(members)
	var consumers []*kgo.Client
	for i := 0; i < count; i++ {
		consumer := member(broker, topic)
		consumers = append(consumers, consumer)
		go func() {
			for {
				fetches := consumer.PollFetches(ctx)
				if fetches.IsClientClosed() {
					return
				}
				if err := fetches.Err(); err != nil {
					fail("a member: %v", err)
				}
				fetches.EachRecord(func(record *kgo.Record) { read <- record })
				if err := consumer.CommitUncommittedOffsets(ctx); err != nil {
					fail("commit: %v", err)
				}
			}
		}()
	}
	got := map[int32][]*kgo.Record{}
	for i := 0; i < records; i++ {
		select {
		case record := <-read:
			got[record.Partition] = append(got[record.Partition], record)
		case <-ctx.Done():
			fail("%d of %d records in %v", i, records, limit)
		}
	}
	compare(sent, got)
	time.Sleep(time.Second)
	for _, consumer := range consumers {
		consumer.Close()
	}
	late := member(broker, topic)
	defer late.Close()
	soon, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if left := late.PollFetches(soon).NumRecords(); left > 0 || len(read) > 0 {
		fail("%d records were read again", left+len(read))
	}
	fmt.Printf("%d records, %d members: each read once\n", records, count)
}

func member(broker, topic string) *kgo.Client {
	return connect(
		kgo.SeedBrokers(broker),
		kgo.ConsumerGroup("members of "+topic),
		kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),
		kgo.SessionTimeout(6*time.Second),
		kgo.HeartbeatInterval(500*time.Millisecond),
	)
}

func compare(sent, got map[int32][]*kgo.Record) {
	for partition, want := range sent {
		have := got[partition]
		if len(have) != len(want) {
			fail("partition %d has %d records, %d were sent", partition, len(have), len(want))
		}
		for i := range want {
			if difference := differ(want[i], have[i]); difference != "" || have[i].Offset != int64(i) {
				fail("partition %d offset %d (expected %d): %s", partition, have[i].Offset, i, difference)
			}
		}
	}
}

func differ(a, b *kgo.Record) string {
	switch {
	case !same(a.Key, b.Key):
		return "the keys differ"
	case !same(a.Value, b.Value):
		return "the values differ"
	case a.Timestamp.UnixMilli() != b.Timestamp.UnixMilli():
		return "the timestamps differ"
	case len(a.Headers) != len(b.Headers):
		return "the headers differ in number"
	}
	for i := range a.Headers {
		if a.Headers[i].Key != b.Headers[i].Key || !same(a.Headers[i].Value, b.Headers[i].Value) {
			return "the headers differ"
		}
	}
	return ""
}

// same tells nothing from empty, as the protocol does.
func same(a, b []byte) bool {
	return bytes.Equal(a, b) && (a == nil) == (b == nil)
}

func codecs() map[string]kgo.CompressionCodec {
	return map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
}

func connect(options ...kgo.Opt) *kgo.Client {
	client, err := kgo.NewClient(options...)
	if err != nil {
		fail("client: %v", err)
	}
	return client
}

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(1)
}
