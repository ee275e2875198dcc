// HttpURLConnection: java Upload.java URL TOKEN FILE        (Java 11 or newer; no package; Android has the same class)
// Prints the answer. Exit status 1 when that is a refusal.

import java.io.InputStream;
import java.io.OutputStream;
import java.net.HttpURLConnection;
import java.net.URL;
import java.nio.file.Files;
import java.nio.file.Path;

public class Upload {
    public static void main(String[] arguments) throws Exception {
        var connection = (HttpURLConnection) new URL(arguments[0]).openConnection();
        connection.setRequestMethod("PUT");
        connection.setRequestProperty("Authorization", "Token " + arguments[1]);
        connection.setDoOutput(true);
        connection.setReadTimeout(90_000);
        connection.setChunkedStreamingMode(64 * 1024); // without this all of the file is kept in memory first
        try (OutputStream body = connection.getOutputStream()) {
            Files.copy(Path.of(arguments[2]), body);
        }
        boolean isRefused = connection.getResponseCode() >= 400;
        try (InputStream answer = isRefused ? connection.getErrorStream() : connection.getInputStream()) {
            answer.transferTo(System.out);
        }
        System.exit(isRefused ? 1 : 0);
    }
}
