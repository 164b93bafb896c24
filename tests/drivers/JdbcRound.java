// JDBC: server-prepared statements, batches, fetch sizes, COPY, large objects through function calls, cancel.
import java.io.*;
import java.nio.charset.StandardCharsets;
import java.sql.*;
import java.util.*;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyManager;
import org.postgresql.largeobject.*;

public class JdbcRound {
    interface Work { void run() throws Exception; }

    static Connection connect(String... extra) throws SQLException {
        Map<String, String> env = System.getenv();
        Properties p = new Properties();
        p.setProperty("user", env.get("PGUSER"));
        p.setProperty("password", env.get("PGPASSWORD"));
        p.setProperty("sslmode", env.getOrDefault("PGSSLMODE", "disable"));
        if (env.containsKey("PGSSLROOTCERT")) p.setProperty("sslrootcert", env.get("PGSSLROOTCERT"));
        for (int i = 0; i < extra.length; i += 2) p.setProperty(extra[i], extra[i + 1]);
        return DriverManager.getConnection(
            "jdbc:postgresql://" + env.get("PGHOST") + ":" + env.get("PGPORT") + "/" + env.get("PGDATABASE"), p);
    }

    static void check(boolean held, Object what) { if (!held) throw new AssertionError(what); }

    static void expect(String state, Work work) throws Exception {
        try { work.run(); } catch (SQLException e) { check(state.equals(e.getSQLState()), e); return; }
        throw new AssertionError(state + " was expected");
    }

    static String one(Connection c, String sql) throws SQLException {
        try (Statement s = c.createStatement(); ResultSet r = s.executeQuery(sql)) { r.next(); return r.getString(1); }
    }

    static void prepared(Connection c) throws SQLException {
        try (PreparedStatement s = c.prepareStatement("SELECT ? + 1, ?::text, ?::numeric, ?::timestamp")) {
            for (int i = 0; i < 30; i++) { // beyond the fifth it is a named statement of the server
                s.setInt(1, i); s.setString(2, "t☃" + i); s.setBigDecimal(3, new java.math.BigDecimal("1.50"));
                s.setTimestamp(4, Timestamp.valueOf("2024-02-29 01:02:03"));
                try (ResultSet r = s.executeQuery()) {
                    r.next();
                    check(r.getInt(1) == i + 1 && r.getString(2).equals("t☃" + i), i);
                    check(r.getTimestamp(4).equals(Timestamp.valueOf("2024-02-29 01:02:03")), r.getTimestamp(4));
                }
            }
        }
    }

    static void transactions(Connection c) throws Exception {
        try (Statement s = c.createStatement()) { s.execute("CREATE TABLE work (id serial PRIMARY KEY, note text UNIQUE)"); }
        c.setAutoCommit(false);
        try (PreparedStatement s = c.prepareStatement("INSERT INTO work (note) VALUES (?)", Statement.RETURN_GENERATED_KEYS)) {
            for (int i = 0; i < 500; i++) { s.setString(1, "n" + i); s.addBatch(); }
            check(s.executeBatch().length == 500, "batch");
            Savepoint save = c.setSavepoint();
            s.setString(1, "n1");
            expect("23505", s::executeUpdate);
            c.rollback(save);
            s.setString(1, "last"); s.executeUpdate();
            try (ResultSet keys = s.getGeneratedKeys()) { check(keys.next() && keys.getInt(1) > 500, "key"); }
        }
        c.commit();
        try (Statement s = c.createStatement()) {
            s.setFetchSize(40); // a portal, read in pieces
            int rows = 0;
            try (ResultSet r = s.executeQuery("SELECT * FROM work")) { while (r.next()) rows++; }
            check(rows == 501, rows);
        }
        c.rollback();
        c.setAutoCommit(true);
        expect("42601", () -> one(c, "SELEC 1"));
        expect("22012", () -> one(c, "SELECT 1 / 0"));
        try (ResultSet r = c.getMetaData().getColumns(null, "public", "work", null)) { check(r.next(), "metadata"); }
    }

    static void copying(Connection c) throws Exception {
        try (Statement s = c.createStatement()) { s.execute("CREATE TABLE bulk (id int, body text)"); }
        StringBuilder text = new StringBuilder();
        for (int i = 0; i < 30000; i++) text.append(i).append("\trow\n");
        CopyManager copy = c.unwrap(PGConnection.class).getCopyAPI();
        check(copy.copyIn("COPY bulk FROM STDIN", new StringReader(text.toString())) == 30000, "in");
        StringWriter out = new StringWriter();
        check(copy.copyOut("COPY bulk TO STDOUT", out) == 30000 && out.toString().equals(text.toString()), "out");
        expect("22P02", () -> copy.copyIn("COPY bulk FROM STDIN", new StringReader("x\ty\n".repeat(9000))));
        check("30000".equals(one(c, "SELECT count(*) FROM bulk")), "after");
    }

    static void largeObjects(Connection c) throws Exception {
        c.setAutoCommit(false);
        LargeObjectManager objects = c.unwrap(PGConnection.class).getLargeObjectAPI();
        long oid = objects.createLO();
        byte[] body = new byte[1 << 20];
        new Random(7).nextBytes(body);
        try (LargeObject object = objects.open(oid, LargeObjectManager.WRITE)) { object.write(body); }
        try (LargeObject object = objects.open(oid, LargeObjectManager.READ)) {
            check(Arrays.equals(object.read(body.length), body), "large object");
        }
        objects.delete(oid);
        c.commit();
        c.setAutoCommit(true);
    }

    static void cancelling(Connection c) throws Exception {
        try (Statement s = c.createStatement()) {
            new Thread(() -> { try { Thread.sleep(300); s.cancel(); } catch (Exception e) { e.printStackTrace(); } }).start();
            expect("57014", () -> s.execute("SELECT pg_sleep(30)"));
            s.setQueryTimeout(1);
            expect("57014", () -> s.execute("SELECT pg_sleep(30)"));
            s.setQueryTimeout(0);
        }
        check("1".equals(one(c, "SELECT 1")), "after");
    }

    static void notifications(Connection c) throws Exception {
        try (Connection other = connect(); Statement s = c.createStatement(); Statement t = other.createStatement()) {
            s.execute("LISTEN news");
            t.execute("NOTIFY news, 'hello'");
            org.postgresql.PGNotification[] told = c.unwrap(PGConnection.class).getNotifications(10000);
            check(told.length == 1 && told[0].getParameter().equals("hello"), "notification");
            if (!"transaction".equals(System.getenv("ONEVAULT_TEST_POOL"))) {
                int pid = other.unwrap(PGConnection.class).getBackendPID();
                check(told[0].getPID() == pid && String.valueOf(pid).equals(one(other, "SELECT pg_backend_pid()")), "pid");
            }
            s.execute("UNLISTEN *");
        }
    }

    public static void main(String[] arguments) throws Exception {
        String[][] ways = {{}, {"preferQueryMode", "simple"}, {"prepareThreshold", "1", "reWriteBatchedInserts", "true"},
            {"binaryTransfer", "false", "autosave", "always"}};
        for (String[] way : ways) {
            try (Connection c = connect(way)) {
                prepared(c);
                transactions(c);
                copying(c);
                if (way.length == 0) { largeObjects(c); cancelling(c); notifications(c); }
                try (Statement s = c.createStatement()) { s.execute("DROP TABLE work; DROP TABLE bulk"); }
            }
        }
        try (Connection c = connect("options", "-c work_mem=5MB", "ApplicationName", "jdbc round")) {
            check("5MB".equals(one(c, "SHOW work_mem")) && "jdbc round".equals(one(c, "SHOW application_name")), "settings");
            try (PreparedStatement s = c.prepareStatement("SELECT ?::bytea")) {
                byte[] body = new byte[16 << 20];
                s.setBytes(1, body);
                try (ResultSet r = s.executeQuery()) { r.next(); check(r.getBytes(1).length == body.length, "large"); }
            }
        }
        expect("28P01", () -> connect("password", "wrong"));
        System.out.println("ok");
    }
}
