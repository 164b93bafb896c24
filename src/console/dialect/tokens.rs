//! What PostgreSQL reads and the parser does not, in words that it reads.
//!
//! What always holds: only whole words outside of quotes and comments are touched, and only at the begin of a statement that is not a query.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the engine's and the parser's enums grow with their versions; what is not known is left as it is"
)]

use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan, Tokenizer, Word};

use crate::console::copy::ALL;
use crate::console::cursors::MOVE;

/// The tokens of a text, as the parser reads them.
///
/// # Errors
/// There are no tokens in it.
pub(super) fn tokens(text: &str) -> Result<Vec<TokenWithSpan>, ParserError> {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, text).tokenize_with_location()?;
    let mut all = Vec::with_capacity(tokens.len());
    for statement in tokens.split_inclusive(|token| token.token == Token::SemiColon) {
        let words: Vec<&TokenWithSpan> =
            statement.iter().filter(|token| !matches!(token.token, Token::Whitespace(_))).collect();
        let first = words.first().map_or_else(String::new, |token| word(&token.token));
        match first.as_str() {
            "FETCH" | "MOVE" => fetch(&words, first == "MOVE", &mut all),
            "BEGIN" | "START" | "SET" => transaction(statement, &mut all),
            "COPY" => copy(statement, &mut all),
            _ => all.extend_from_slice(statement),
        }
    }
    Ok(all)
}

/// A word in capital letters; empty: it is none, or is quoted.
fn word(token: &Token) -> String {
    match token {
        Token::Word(word) if word.quote_style.is_none() => word.value.to_ascii_uppercase(),
        _ => String::new(),
    }
}

fn made(text: &str) -> TokenWithSpan {
    TokenWithSpan { token: Token::make_word(text, None), span: Span::empty() }
}

/// `FETCH [direction] [FROM | IN] name`; `MOVE` as a fetch into nowhere.
fn fetch(words: &[&TokenWithSpan], moves: bool, all: &mut Vec<TokenWithSpan>) {
    let ends = usize::from(words.last().is_some_and(|token| token.token == Token::SemiColon));
    let (body, end) = words.split_at(words.len().saturating_sub(ends));
    let is_from = |token: &&TokenWithSpan| matches!(word(&token.token).as_str(), "FROM" | "IN");
    let asked = body.get(1..).and_then(<[_]>::split_last).filter(|(name, _)| !is_from(name));
    let Some((name, before)) = asked else {
        all.extend(words.iter().map(|token| (*token).clone()));
        return;
    };
    let direction = before.split_last().filter(|(last, _)| is_from(last)).map_or(before, |(_, rest)| rest);
    all.push(made("FETCH"));
    match direction {
        [] => all.push(made("NEXT")),
        [one] if word(&one.token) == "FORWARD" => all.push(made("NEXT")),
        [one] if word(&one.token) == "BACKWARD" => all.push(made("PRIOR")),
        // The parser takes no sign.
        words if words.iter().any(|token| token.token == Token::Minus) => all.push(made("PRIOR")),
        words => all.extend(words.iter().map(|token| (*token).clone())),
    }
    all.push(made("FROM"));
    all.push((*name).clone());
    if moves {
        all.extend([made("INTO"), made(MOVE)]);
    }
    all.extend(end.iter().map(|token| (*token).clone()));
}

/// Without `[NOT] DEFERRABLE`, which means nothing to whoever only reads.
fn transaction(statement: &[TokenWithSpan], all: &mut Vec<TokenWithSpan>) {
    for token in statement {
        if word(&token.token) != "DEFERRABLE" {
            all.push(token.clone());
            continue;
        }
        let last = |all: &[TokenWithSpan]| {
            all.iter().rposition(|token| !matches!(token.token, Token::Whitespace(_)))
        };
        for mark in [Token::make_keyword("NOT"), Token::Comma] {
            let is = |token: &TokenWithSpan| token.token == mark || word(&token.token) == mark.to_string();
            if let Some(at) = last(all).filter(|at| all.get(*at).is_some_and(is)) {
                all.truncate(at);
            }
        }
    }
}

/// `FORCE_QUOTE *` and `FORCE QUOTE *` with a name in the place of the star.
fn copy(statement: &[TokenWithSpan], all: &mut Vec<TokenWithSpan>) {
    let star = || {
        let word = Word { value: ALL.to_owned(), quote_style: Some('"'), keyword: Keyword::NoKeyword };
        TokenWithSpan { token: Token::Word(word), span: Span::empty() }
    };
    let bare = |token: Token| TokenWithSpan { token, span: Span::empty() };
    let mut before = String::new();
    for token in statement {
        match (&token.token, before.as_str()) {
            (Token::Mul, "FORCE_QUOTE") => all.extend([bare(Token::LParen), star(), bare(Token::RParen)]),
            (Token::Mul, "QUOTE") => all.push(star()),
            _ => all.push(token.clone()),
        }
        if !matches!(token.token, Token::Whitespace(_)) {
            before = word(&token.token);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::console::dialect::Dialect;

    #[test]
    fn what_the_parser_does_not_read_is_put_in_words_that_it_reads() {
        for (text, expected) in [
            ("FETCH c", "FETCH NEXT FROM c"),
            ("fetch from \"C\"; SELECT 1", "FETCH NEXT FROM \"C\"; SELECT 1"),
            ("FETCH FORWARD IN c", "FETCH NEXT FROM c"),
            ("FETCH ALL c", "FETCH ALL FROM c"),
            ("FETCH FORWARD 5 FROM c", "FETCH FORWARD 5 FROM c"),
            ("FETCH -1 FROM c", "FETCH PRIOR FROM c"),
            ("MOVE 3 IN c", "FETCH 3 FROM c INTO move"),
            ("BEGIN READ ONLY, NOT DEFERRABLE", "BEGIN READ ONLY"),
            (
                "START TRANSACTION ISOLATION LEVEL SERIALIZABLE DEFERRABLE",
                "START TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            ),
            ("SELECT 'DEFERRABLE', fetch FROM move", "SELECT 'DEFERRABLE', fetch FROM move"),
        ] {
            let read: Vec<String> =
                Dialect::new().read(text).unwrap().iter().map(ToString::to_string).collect();
            assert_eq!(read.join("; "), expected, "{text}");
        }
        let copy = "COPY (SELECT 1) TO STDOUT (FORMAT csv, FORCE_QUOTE *)";
        assert!(Dialect::new().read(copy).unwrap()[0].to_string().contains("FORCE_QUOTE (\"*\")"));
    }

    #[test]
    fn what_ends_too_soon_is_refused() {
        for text in ["FETCH", "MOVE;", "FETCH 1 FROM", "BEGIN DEFERRABLE NOT"] {
            assert!(Dialect::new().read(text).is_err(), "{text}");
        }
    }
}
