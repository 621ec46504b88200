package org.jivesoftware.smackx.admin;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.jivesoftware.smack.XMPPConnection;
import org.jxmpp.jid.EntityBareJid;

/**
 * Takes the place of Smack's own class, which makes accounts by XEP-0133: here the command line makes them. The property
 * `judge.user` is what comes before `add` and `remove`, in parts separated by line ends.
 */
public final class ServiceAdministrationManager {
    private ServiceAdministrationManager() {}

    public static ServiceAdministrationManager getInstanceFor(XMPPConnection connection) {
        return new ServiceAdministrationManager();
    }

    public void addUser(EntityBareJid user, String password) throws InterruptedException {
        run(password, "add", user.getLocalpart().toString());
    }

    public void deleteUser(EntityBareJid user) throws InterruptedException {
        run("", "remove", user.getLocalpart().toString());
    }

    private static void run(String input, String... arguments) throws InterruptedException {
        List<String> command = new ArrayList<>(Arrays.asList(System.getProperty("judge.user").split("\n")));
        command.addAll(Arrays.asList(arguments));
        try {
            Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
            process.getOutputStream().write((input + "\n").getBytes());
            process.getOutputStream().close();
            String said = new String(process.getInputStream().readAllBytes());
            if (process.waitFor() != 0) {
                throw new IllegalStateException(command + ": " + said);
            }
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }
}
