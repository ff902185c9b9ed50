import java.io.PrintStream;
import java.io.FileOutputStream;
import java.io.FileDescriptor;
import java.net.URI;
import java.nio.charset.StandardCharsets;

import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.http.Protocol;
import software.amazon.awssdk.http.nio.netty.NettyNioAsyncHttpClient;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.cloudwatch.CloudWatchAsyncClient;
import software.amazon.awssdk.services.dynamodb.DynamoDbAsyncClient;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.kinesis.common.ConfigsBuilder;
import software.amazon.kinesis.common.InitialPositionInStream;
import software.amazon.kinesis.common.InitialPositionInStreamExtended;
import software.amazon.kinesis.coordinator.Scheduler;
import software.amazon.kinesis.exceptions.KinesisClientLibException;
import software.amazon.kinesis.lifecycle.events.InitializationInput;
import software.amazon.kinesis.lifecycle.events.LeaseLostInput;
import software.amazon.kinesis.lifecycle.events.ProcessRecordsInput;
import software.amazon.kinesis.lifecycle.events.ShardEndedInput;
import software.amazon.kinesis.lifecycle.events.ShutdownRequestedInput;
import software.amazon.kinesis.metrics.NullMetricsFactory;
import software.amazon.kinesis.processor.RecordProcessorCheckpointer;
import software.amazon.kinesis.processor.ShardRecordProcessor;
import software.amazon.kinesis.processor.SingleStreamTracker;
import software.amazon.kinesis.retrieval.KinesisClientRecord;
import software.amazon.kinesis.retrieval.polling.PollingConfig;

/**
 * One KCL worker that reads a stream from its beginning until it is killed.
 *
 * <p>It prints one line an event, with fields parted by tabs: "lease SHARD" when it begins to read a
 * shard, "record SHARD KEY DATA" for each user record, "ended SHARD", "lost SHARD". What cannot
 * happen in a run without other workers ends it with a stack trace.
 */
public final class KclWorker {
    private static final PrintStream EVENTS =
            new PrintStream(new FileOutputStream(FileDescriptor.out), false, StandardCharsets.UTF_8);

    public static void main(String[] arguments) {
        if (arguments.length != 5) {
            System.err.println("KclWorker KINESIS_URL DYNAMODB_URL REGION STREAM APPLICATION");
            System.exit(2);
        }
        var region = Region.of(arguments[2]);
        var stream = arguments[3];
        // The emulators do not look at the signature.
        var credentials = StaticCredentialsProvider.create(AwsBasicCredentials.create("test", "test"));
        // moto speaks HTTP/1.1 only, and one protocol for both is one thing less that can differ.
        var kinesis = KinesisAsyncClient.builder()
                .endpointOverride(URI.create(arguments[0]))
                .region(region)
                .credentialsProvider(credentials)
                .httpClientBuilder(NettyNioAsyncHttpClient.builder().protocol(Protocol.HTTP1_1))
                .build();
        var tables = URI.create(arguments[1]);
        var dynamo = DynamoDbAsyncClient.builder()
                .endpointOverride(tables)
                .region(region)
                .credentialsProvider(credentials)
                .httpClientBuilder(NettyNioAsyncHttpClient.builder().protocol(Protocol.HTTP1_1))
                .build();
        // Never called, as metrics are off; without an endpoint it would be the real service.
        var cloudwatch = CloudWatchAsyncClient.builder()
                .endpointOverride(tables)
                .region(region)
                .credentialsProvider(credentials)
                .build();
        var tracker = new SingleStreamTracker(stream, InitialPositionInStreamExtended.newInitialPosition(
                InitialPositionInStream.TRIM_HORIZON));
        var configs = new ConfigsBuilder(
                tracker, arguments[4], kinesis, dynamo, cloudwatch, "worker", Printer::new);
        var leases = configs.leaseManagementConfig();
        // The default of 60 s comes on top of the time to the first lease.
        leases.shardSyncIntervalMillis(1_000);
        // An aggregate that a split has put into another shard than its records' own is put again by its
        // producer. The KCL leaves the first copy out if it knows the shard, which it does not for up to
        // 30 s: by default it lists the shards anew only after 1,000 look-ups in vain.
        leases.maxCacheMissesBeforeReload(0);
        // One worker alone has nothing to balance, and the sources of its load are asked over the network.
        leases.workerUtilizationAwareAssignmentConfig().disableWorkerMetrics(true);
        var retrieval = configs.retrievalConfig()
                .retrievalSpecificConfig(new PollingConfig(stream, kinesis));
        var scheduler = new Scheduler(
                configs.checkpointConfig(),
                configs.coordinatorConfig(),
                leases,
                configs.lifecycleConfig(),
                configs.metricsConfig().metricsFactory(new NullMetricsFactory()),
                configs.processorConfig(),
                retrieval);
        scheduler.run();
    }

    /** Whole lines, in the order in which they happened: the shards have a thread each. */
    private static synchronized void print(String... fields) {
        EVENTS.print(String.join("\t", fields) + "\n");
        EVENTS.flush();
    }

    private static final class Printer implements ShardRecordProcessor {
        private String shard;

        @Override
        public void initialize(InitializationInput input) {
            shard = input.shardId();
            print("lease", shard);
        }

        @Override
        public void processRecords(ProcessRecordsInput input) {
            for (KinesisClientRecord record : input.records()) {
                var data = StandardCharsets.UTF_8.decode(record.data()).toString();
                print("record", shard, record.partitionKey(), data);
            }
            if (!input.records().isEmpty()) {
                checkpoint(input.checkpointer());
            }
        }

        @Override
        public void leaseLost(LeaseLostInput input) {
            print("lost", shard);
        }

        @Override
        public void shardEnded(ShardEndedInput input) {
            // Before the checkpoint: it lets the children begin, whose lines are to follow this one.
            print("ended", shard);
            checkpoint(input.checkpointer());
        }

        @Override
        public void shutdownRequested(ShutdownRequestedInput input) {
            checkpoint(input.checkpointer());
        }

        private static void checkpoint(RecordProcessorCheckpointer checkpointer) {
            try {
                checkpointer.checkpoint();
            } catch (KinesisClientLibException error) {
                error.printStackTrace();
                // What is read again after a lost checkpoint would look as if it had been put twice.
                Runtime.getRuntime().halt(1);
            }
        }
    }
}
