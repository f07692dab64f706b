import io.confluent.parallelconsumer.ParallelConsumerOptions;
import io.confluent.parallelconsumer.ParallelConsumerOptions.CommitMode;
import io.confluent.parallelconsumer.ParallelConsumerOptions.ProcessingOrder;
import io.confluent.parallelconsumer.ParallelStreamProcessor;
import java.io.FileOutputStream;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** Confluent Parallel Consumer, ordered by key, asynchronous commits: the same record format as recording.py. */
public final class Arm {
    public static void main(String[] arguments) throws Exception {
        String bootstrap = arguments[0], topic = arguments[1], group = arguments[2];
        int count = Integer.parseInt(arguments[3]), concurrency = Integer.parseInt(arguments[6]);
        long workMs = Math.round(Double.parseDouble(arguments[4]) * 1000);
        long slowMs = Math.round(Double.parseDouble(arguments[5]) * 1000);
        String out = arguments[7], journalPath = arguments[8];
        FileChannel journal = journalPath.isEmpty() ? null : FileChannel.open(
            Path.of(journalPath), StandardOpenOption.CREATE, StandardOpenOption.APPEND);

        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        properties.put("group.id", group);
        properties.put("enable.auto.commit", "false");
        properties.put("auto.offset.reset", "earliest");
        properties.put("key.deserializer", ByteArrayDeserializer.class.getName());
        properties.put("value.deserializer", ByteArrayDeserializer.class.getName());
        KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(properties);
        ParallelConsumerOptions<byte[], byte[]> options = ParallelConsumerOptions.<byte[], byte[]>builder()
            .ordering(ProcessingOrder.KEY).maxConcurrency(concurrency).consumer(consumer)
            .commitMode(CommitMode.PERIODIC_CONSUMER_ASYNCHRONOUS).build();
        ParallelStreamProcessor<byte[], byte[]> processor =
            ParallelStreamProcessor.createEosStreamProcessor(options);

        int room = Math.min(count, 100_000) * 2 + 10_000;
        int[] keys = new int[room], places = new int[room];
        long[] begun = new long[room], ended = new long[room];
        AtomicInteger next = new AtomicInteger(), finished = new AtomicInteger();
        CountDownLatch over = new CountDownLatch(1);
        long[] firstCpu = new long[1];
        processor.subscribe(List.of(topic));
        processor.poll(context -> {
            ByteBuffer value = ByteBuffer.wrap(context.getSingleConsumerRecord().value()).order(ByteOrder.LITTLE_ENDIAN);
            int key = value.getInt(), place = value.getInt();
            boolean slow = value.get() == 1;
            int index = next.getAndIncrement();
            if (index == 0) firstCpu[0] = cpu();
            keys[index] = key;
            places[index] = place;
            begun[index] = System.nanoTime();
            write(journal, 0, key, place, begun[index]);
            long ms = slow ? slowMs : workMs;
            if (ms > 0) {
                try { Thread.sleep(ms); } catch (InterruptedException e) { Thread.currentThread().interrupt(); return; }
            }
            ended[index] = System.nanoTime();
            write(journal, 1, key, place, ended[index]);
            if (finished.incrementAndGet() == count) over.countDown();
        });
        over.await();
        save(out, cpu() - firstCpu[0], next.get(), keys, places, begun, ended);
        Runtime.getRuntime().halt(0);
    }

    private static long cpu() {
        return ((com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime();
    }

    private static void write(FileChannel journal, int kind, int key, int place, long at) {
        if (journal == null) return;
        ByteBuffer line = ByteBuffer.allocate(17).order(ByteOrder.LITTLE_ENDIAN);
        line.put((byte) kind).putInt(key).putInt(place).putLong(at).flip();
        try { journal.write(line); } catch (java.io.IOException e) { throw new java.io.UncheckedIOException(e); }
    }

    private static void save(String out, long cpu, int n, int[] keys, int[] places, long[] begun, long[] ended) throws Exception {
        String status = Files.readString(Path.of("/proc/self/status"));
        String peak = status.lines().filter(line -> line.startsWith("VmHWM")).findFirst().orElse("VmHWM: 0").replaceAll("\\D", "");
        byte[] head = ("{\"cpu_s\": " + cpu / 1e9 + ", \"peak_rss_kib\": " + peak + ", \"messages\": " + n + "}").getBytes(StandardCharsets.UTF_8);
        ByteBuffer all = ByteBuffer.allocate(4 + head.length + n * 24).order(ByteOrder.LITTLE_ENDIAN);
        all.putInt(head.length).put(head);
        for (int i = 0; i < n; i++) all.putInt(keys[i]);
        for (int i = 0; i < n; i++) all.putInt(places[i]);
        for (int i = 0; i < n; i++) all.putLong(begun[i]);
        for (int i = 0; i < n; i++) all.putLong(ended[i]);
        try (FileOutputStream file = new FileOutputStream(out)) { file.write(all.array()); }
    }
}
