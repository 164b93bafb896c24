//! Messages as a client (or a lying server) writes them, byte by byte and without help from the code that is tested.

/// A message with its length.
pub(crate) fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    bytes.extend(length(body.len() + 4));
    bytes.extend_from_slice(body);
    bytes
}

/// Several messages as one piece.
pub(crate) fn all(messages: &[Vec<u8>]) -> Vec<u8> {
    messages.concat()
}

pub(crate) fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap().to_be_bytes()
}

fn count(items: usize) -> [u8; 2] {
    u16::try_from(items).unwrap().to_be_bytes()
}

pub(crate) fn cstr(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

/// A startup message; `version` is 196608 for 3.0.
pub(crate) fn startup(version: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend(cstr(name));
        body.extend(cstr(value));
    }
    body.push(0);
    untagged(&body)
}

/// A message without a tag: startup, `SSLRequest`, cancel.
pub(crate) fn untagged(body: &[u8]) -> Vec<u8> {
    [&length(body.len() + 4), body].concat()
}

pub(crate) fn ssl_request() -> Vec<u8> {
    untagged(&80_877_103_u32.to_be_bytes())
}

pub(crate) fn gssenc_request() -> Vec<u8> {
    untagged(&80_877_104_u32.to_be_bytes())
}

pub(crate) fn cancel_request(process_id: i32, secret: &[u8]) -> Vec<u8> {
    untagged(&[&80_877_102_u32.to_be_bytes(), &process_id.to_be_bytes()[..], secret].concat())
}

pub(crate) fn query(sql: &str) -> Vec<u8> {
    message(b'Q', &cstr(sql))
}

pub(crate) fn parse(statement: &str, sql: &str) -> Vec<u8> {
    parse_typed(statement, sql, &[])
}

pub(crate) fn parse_typed(statement: &str, sql: &str, oids: &[u32]) -> Vec<u8> {
    let mut body = [cstr(statement), cstr(sql), count(oids.len()).to_vec()].concat();
    body.extend(oids.iter().flat_map(|oid| oid.to_be_bytes()));
    message(b'P', &body)
}

/// Binds text parameters (`None` is NULL) and asks for text results.
pub(crate) fn bind(portal: &str, statement: &str, values: &[Option<&str>]) -> Vec<u8> {
    let mut body = [cstr(portal), cstr(statement), count(0).to_vec(), count(values.len()).to_vec()].concat();
    for value in values {
        match value {
            Some(text) => {
                body.extend(length(text.len()));
                body.extend(text.as_bytes());
            }
            None => body.extend((-1_i32).to_be_bytes()),
        }
    }
    body.extend(count(0));
    message(b'B', &body)
}

pub(crate) fn describe_statement(name: &str) -> Vec<u8> {
    message(b'D', &[b"S".to_vec(), cstr(name)].concat())
}

pub(crate) fn describe_portal(name: &str) -> Vec<u8> {
    message(b'D', &[b"P".to_vec(), cstr(name)].concat())
}

pub(crate) fn close_statement(name: &str) -> Vec<u8> {
    message(b'C', &[b"S".to_vec(), cstr(name)].concat())
}

pub(crate) fn close_portal(name: &str) -> Vec<u8> {
    message(b'C', &[b"P".to_vec(), cstr(name)].concat())
}

/// `rows_max` 0 means all.
pub(crate) fn execute(portal: &str, rows_max: u32) -> Vec<u8> {
    message(b'E', &[cstr(portal), rows_max.to_be_bytes().to_vec()].concat())
}

pub(crate) fn sync() -> Vec<u8> {
    message(b'S', &[])
}

pub(crate) fn flush() -> Vec<u8> {
    message(b'H', &[])
}

pub(crate) fn terminate() -> Vec<u8> {
    message(b'X', &[])
}

pub(crate) fn copy_data(bytes: &[u8]) -> Vec<u8> {
    message(b'd', bytes)
}

pub(crate) fn copy_done() -> Vec<u8> {
    message(b'c', &[])
}

pub(crate) fn copy_fail(reason: &str) -> Vec<u8> {
    message(b'f', &cstr(reason))
}

/// Calls a function by its oid with text arguments.
pub(crate) fn function_call(oid: u32, values: &[&str]) -> Vec<u8> {
    let mut body = [&oid.to_be_bytes()[..], &count(0), &count(values.len())].concat();
    for value in values {
        body.extend(length(value.len()));
        body.extend(value.as_bytes());
    }
    body.extend(count(0));
    message(b'F', &body)
}

/// One execution of a text through the unnamed statement, up to its Sync.
pub(crate) fn extended(sql: &str, values: &[Option<&str>]) -> Vec<u8> {
    all(&[parse("", sql), bind("", "", values), describe_portal(""), execute("", 0), sync()])
}
