import com.google.common.util.concurrent.FutureCallback;
import com.google.common.util.concurrent.Futures;
import com.google.common.util.concurrent.MoreExecutors;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.kinesis.producer.KinesisProducer;
import software.amazon.kinesis.producer.KinesisProducerConfiguration;
import software.amazon.kinesis.producer.UserRecordResult;

/**
 * Puts lines with the KPL and its native daemon, aggregated, at an even pace, and prints how many were
 * acknowledged and how many failed. Line N has the key `key-(N mod KEYS)`.
 *
 * <p>Arguments: HOST, its PORT for Kinesis, its PORT for STS, REGION STREAM COUNT KEYS PER_SECOND. The daemon
 * speaks TLS only, and asks STS for the account that it makes the stream's ARN of.
 */
public final class KplLines {
  private static final int OPEN_MAX = 5_000;
  private static final long RECORD_TTL_MS = 120_000;

  public static void main(String[] arguments) throws InterruptedException {
    String host = arguments[0];
    long kinesisPort = Long.parseLong(arguments[1]);
    long stsPort = Long.parseLong(arguments[2]);
    String region = arguments[3];
    String stream = arguments[4];
    int count = Integer.parseInt(arguments[5]);
    int keys = Integer.parseInt(arguments[6]);
    int perSecond = Integer.parseInt(arguments[7]);
    var credentials = StaticCredentialsProvider.create(AwsBasicCredentials.create("test", "test"));
    var configuration =
        new KinesisProducerConfiguration()
            .setKinesisEndpoint(host)
            .setKinesisPort(kinesisPort)
            .setStsEndpoint(host)
            .setStsPort(stsPort)
            .setVerifyCertificate(false)
            .setRegion(region)
            .setMetricsLevel("none")
            .setRecordTtl(RECORD_TTL_MS)
            .setCredentialsProvider(credentials);
    var producer = new KinesisProducer(configuration);
    var acknowledged = new AtomicInteger();
    var failed = new AtomicInteger();
    var open = new Semaphore(OPEN_MAX);
    var counting =
        new FutureCallback<UserRecordResult>() {
          @Override
          public void onSuccess(UserRecordResult result) {
            acknowledged.incrementAndGet();
            open.release();
          }

          @Override
          public void onFailure(Throwable failure) {
            failed.incrementAndGet();
            open.release();
          }
        };
    long begin = System.nanoTime();
    for (int number = 0; number < count; number++) {
      long due = begin + number * TimeUnit.SECONDS.toNanos(1) / perSecond;
      TimeUnit.NANOSECONDS.sleep(Math.max(0, due - System.nanoTime()));
      open.acquire();
      var line = ByteBuffer.wrap(("line-" + number).getBytes(StandardCharsets.UTF_8));
      var result = producer.addUserRecord(stream, "key-" + number % keys, line);
      Futures.addCallback(result, counting, MoreExecutors.directExecutor());
    }
    producer.flushSync();
    open.acquire(OPEN_MAX);
    System.out.println(acknowledged + " " + failed);
    producer.destroy();
    System.exit(0);
  }

  private KplLines() {}
}
