import java.io.FileInputStream;
import java.io.InputStream;
import java.lang.reflect.Field;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.util.concurrent.atomic.AtomicInteger;
import javax.net.ssl.TrustManagerFactory;
import javax.net.ssl.X509TrustManager;
import org.igniterealtime.smack.inttest.Configuration;
import org.igniterealtime.smack.inttest.ConnectionConfigurationBuilderApplier;
import org.igniterealtime.smack.inttest.SmackIntegrationTestFramework;

/**
 * Runs Smack's integration tests against several nodes in turn: each connection goes to the next one.
 *
 * Arguments: PEM file of the CA, then a host:port a node. What to test comes as `sinttest.` properties. Prints a line a test,
 * `VERDICT class.method reason`, where VERDICT is passed, failed or impossible.
 */
public final class Judge {
    public static void main(String[] arguments) throws Exception {
        Configuration configuration = Configuration.newConfiguration(new String[0]);
        X509TrustManager trust = trusting(arguments[0]);
        AtomicInteger next = new AtomicInteger();
        ConnectionConfigurationBuilderApplier given = configuration.configurationApplier;
        ConnectionConfigurationBuilderApplier applier = builder -> {
            given.applyConfigurationTo(builder);
            String node = arguments[1 + next.getAndIncrement() % (arguments.length - 1)];
            int colon = node.lastIndexOf(':');
            builder.setHost(node.substring(0, colon));
            builder.setPort(Integer.parseInt(node.substring(colon + 1)));
            builder.setCustomX509TrustManager(trust);
        };
        // No property is there for ports and authorities of certificates.
        Field field = Configuration.class.getField("configurationApplier");
        field.setAccessible(true);
        field.set(configuration, applier);

        SmackIntegrationTestFramework.TestRunResult result = new SmackIntegrationTestFramework(configuration).run();
        result.getSuccessfulTests().forEach(test -> say("passed", test.concreteTest, ""));
        result.getFailedTests().forEach(test -> say("failed", test.concreteTest, test.failureReason));
        result.getNotPossibleTests().forEach(test -> say("impossible", test.concreteTest, test.testNotPossibleException.getMessage()));
        result.getImpossibleTestClasses().forEach((type, why) -> say("impossible", type.getSimpleName(), why));
        System.exit(0); // threads of connections may be left
    }

    private static void say(String verdict, Object test, Object reason) {
        String line = verdict + " " + test.toString().replaceAll(" ?\\(.*", "") + " " + reason;
        System.out.println("JUDGED " + line.replaceAll("\\s+", " ").trim());
    }

    private static X509TrustManager trusting(String file) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (InputStream stream = new FileInputStream(file)) {
            for (Certificate authority : CertificateFactory.getInstance("X.509").generateCertificates(stream)) {
                store.setCertificateEntry("authority " + store.size(), authority);
            }
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        return (X509TrustManager) trust.getTrustManagers()[0];
    }
}
