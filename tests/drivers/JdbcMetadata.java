import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.time.OffsetDateTime;
import java.util.Properties;

/** What a tool on JDBC asks of a database before it shows it; prints each answer's columns and how many rows came. */
public final class JdbcMetadata {
    private static int failures = 0;

    private interface Asking {
        ResultSet ask() throws Exception;
    }

    private static void show(String name, Asking asking) {
        try (ResultSet rows = asking.ask()) {
            ResultSetMetaData columns = rows.getMetaData();
            StringBuilder line = new StringBuilder(name).append(':');
            for (int at = 1; at <= columns.getColumnCount(); at++) {
                line.append(' ').append(columns.getColumnLabel(at));
            }
            int count = 0;
            StringBuilder first = new StringBuilder();
            while (rows.next()) {
                count++;
                for (int at = 1; at <= columns.getColumnCount(); at++) {
                    String value = rows.getString(at);
                    if (name.startsWith("getColumns") || name.startsWith("getTables ")) {
                        first.append(at > 1 ? "|" : "\n  ").append(value);
                    }
                }
            }
            System.out.println(line + " = " + count + first);
        } catch (Exception error) {
            failures++;
            System.out.println(name + ": FAILED " + error.getMessage());
        }
    }

    public static void main(String[] arguments) throws Exception {
        Properties properties = new Properties();
        properties.setProperty("user", System.getenv("PGUSER"));
        properties.setProperty("password", String.valueOf(System.getenv("PGPASSWORD")));
        properties.setProperty("sslmode", "disable");
        String url = "jdbc:postgresql://127.0.0.1:" + System.getenv("PGPORT") + "/onevault";
        try (Connection connection = DriverManager.getConnection(url, properties)) {
            DatabaseMetaData data = connection.getMetaData();
            System.out.println(data.getDatabaseProductName() + " " + data.getDatabaseProductVersion());
            show("getCatalogs", data::getCatalogs);
            show("getSchemas", data::getSchemas);
            show("getSchemas of", () -> data.getSchemas(null, "audit"));
            show("getTableTypes", data::getTableTypes);
            show("getTables", () -> data.getTables(null, null, "%", null));
            show("getTables of", () -> data.getTables(null, "audit", "%", new String[] {"TABLE", "VIEW"}));
            show("getColumns", () -> data.getColumns(null, "audit", "statements", "%"));
            show("getPrimaryKeys", () -> data.getPrimaryKeys(null, "audit", "statements"));
            show("getImportedKeys", () -> data.getImportedKeys(null, "audit", "statements"));
            show("getExportedKeys", () -> data.getExportedKeys(null, "audit", "statements"));
            show("getCrossReference", () -> data.getCrossReference(null, "audit", "statements", null, "audit", "logins"));
            show("getIndexInfo", () -> data.getIndexInfo(null, "audit", "statements", false, true));
            show("getBestRowIdentifier", () -> data.getBestRowIdentifier(null, "audit", "statements", 2, true));
            show("getVersionColumns", () -> data.getVersionColumns(null, "audit", "statements"));
            show("getTypeInfo", data::getTypeInfo);
            show("getUDTs", () -> data.getUDTs(null, "audit", "%", null));
            show("getProcedures", () -> data.getProcedures(null, "audit", "%"));
            show("getProcedureColumns", () -> data.getProcedureColumns(null, "audit", "%", "%"));
            show("getFunctions", () -> data.getFunctions(null, "audit", "%"));
            show("getFunctionColumns", () -> data.getFunctionColumns(null, "audit", "%", "%"));
            show("getTablePrivileges", () -> data.getTablePrivileges(null, "audit", "statements"));
            show("getColumnPrivileges", () -> data.getColumnPrivileges(null, "audit", "statements", "%"));
            show("getClientInfoProperties", data::getClientInfoProperties);
            System.out.println(data.getSQLKeywords().isEmpty() + " " + data.getMaxColumnNameLength() + " " + data.getDatabaseMajorVersion());
            try (ResultSet rows = connection.createStatement().executeQuery(
                    "SELECT time, text, record FROM audit.statements ORDER BY time LIMIT 1")) {
                ResultSetMetaData columns = rows.getMetaData();
                for (int at = 1; at <= 3; at++) {
                    System.out.println(columns.getTableName(at) + "." + columns.getColumnName(at) + " "
                            + columns.getColumnTypeName(at) + " " + columns.isAutoIncrement(at));
                }
            }
        }
        try (Connection connection = DriverManager.getConnection(url, properties)) {
            connection.setReadOnly(true);
            connection.setAutoCommit(false);
            connection.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
            try (PreparedStatement walk = connection.prepareStatement(
                    "SELECT value FROM generate_series(1, 7) WHERE value <> ? AND value <= ?")) {
                walk.setInt(1, 4);
                walk.setLong(2, 6);
                walk.setFetchSize(2);
                int sum = 0;
                try (ResultSet rows = walk.executeQuery()) {
                    while (rows.next()) {
                        sum += rows.getInt(1);
                        connection.createStatement().executeQuery("SELECT 1").close();
                    }
                }
                System.out.println("fetched " + sum);
            }
            try (PreparedStatement times = connection.prepareStatement(
                    "SELECT count(*) FROM audit.statements WHERE time > ? AND outcome = ANY (?) AND kind = ?")) {
                times.setObject(1, OffsetDateTime.now().minusHours(1));
                times.setArray(2, connection.createArrayOf("text", new String[] {"ok", "error"}));
                times.setString(3, "query");
                try (ResultSet rows = times.executeQuery()) {
                    rows.next();
                    System.out.println("recorded " + rows.getInt(1));
                }
            }
            Savepoint before = connection.setSavepoint();
            try {
                connection.createStatement().executeQuery("SELECT nothing");
            } catch (SQLException expected) {
                System.out.println("refused " + expected.getSQLState());
            }
            connection.rollback(before);
            connection.createStatement().executeQuery("SELECT 1").close();
            connection.commit();
        }
        if (failures > 0) {
            System.exit(1);
        }
    }
}
