#!/usr/bin/env python3
"""What PostgreSQL's own parser (libpg_query) says of SQL: the other opinion on `session::classify`.

sql_oracle.py read FILE...   One line of JSON for each statement of psql scripts that parses: its text and what it leaves behind by
                             its parse tree. What is not for the server (psql's commands, data of COPY) is left out first.
sql_oracle.py same           Reads lines of JSON with two texts; prints those whose parse trees differ.
"""

import json
import re
import sys

from pglast.parser import ParseError, parse_sql_json, split

SERIALS = {"serial", "serial2", "serial4", "serial8", "bigserial", "smallserial"}
CURSOR_HOLD = 0x20


def chunks(script):
    """The texts of a psql script that are for the server, split by the scanner, never by the parser."""
    lines, copying = [], False
    for line in script.split("\n"):
        if copying:
            copying = line != "\\."
            continue
        line = re.sub(r"\\;", ";", line)
        if re.match(r"\s*\\", line):
            continue
        # A command at a line's end sends what stands before it.
        line = re.sub(r"\\(g\w*|watch|crosstabview|bind\w*|parse|close\w*)\b.*$", ";", line)
        lines.append(line)
        copying = re.match(r"\s*copy\b.*\bfrom\s+stdin\b.*;\s*$", line, re.I) is not None
    text = "\n".join(lines)
    try:
        return list(split(text, with_parser=False))
    except ParseError:
        return []


def pieces(found):
    """Chunks that parse; a body `BEGIN ATOMIC .. END` is put together again."""
    at = 0
    while at < len(found):
        for end in range(at + 1, min(at + 12, len(found)) + 1):
            text = ";\n".join(found[at:end])
            try:
                yield text, json.loads(parse_sql_json(text))["stmts"]
                at = end
                break
            except ParseError:
                if not re.search(r"\batomic\b", text, re.I):
                    at += 1
                    break
        else:
            at += 1


# Fields whose node is of one type only and does not say it.
TYPES = {"into": "IntoClause", "intoClause": "IntoClause", "funccall": "FuncCall"}


def nodes(tree):
    """Every node below: its type and its fields."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            kind = TYPES.get(key, key)
            if isinstance(value, dict) and kind[0].isupper():
                yield kind, value
            yield from nodes(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from nodes(value)


def names(path):
    return [part["String"]["sval"] for part in path if "String" in part]


def constant(argument):
    value = argument.get("A_Const", {})
    for kind, field in (("sval", "sval"), ("boolval", "boolval"), ("ival", "ival"), ("fval", "fval")):
        if kind in value:
            return value[kind].get(field, False if kind == "boolval" else "")
    return None


def call(node):
    path = names(node["funcname"])
    arguments = node.get("args", [])
    if path[-1] == "set_config" and path[:-1] in ([], ["pg_catalog"]):
        name = constant(arguments[0]) if arguments else None
        local = constant(arguments[2]) if len(arguments) == 3 else None
        if isinstance(name, str) and local is True:
            return f"config local {name.lower()}"
        return "config session" if local is False else "config unknown"
    syntax = node.get("funcformat") == "COERCE_SQL_SYNTAX"
    return ("syntax " if syntax else "call ") + ".".join(path)


def run(tree):
    """What expressions and queries leave behind when they run."""
    for kind, node in nodes(tree):
        if kind == "FuncCall":
            yield call(node)
        elif kind == "RangeTableSample":
            method = ".".join(names(node["method"]))
            yield ("syntax " if method in ("bernoulli", "system") else "call ") + method
        elif kind in ("InsertStmt", "MergeStmt"):
            yield "sequencestep"
        elif kind == "UpdateStmt":
            if any(kind == "SetToDefault" for kind, _ in nodes(node)):
                yield "sequencestep"
            if node["relation"]["relname"] == "pg_settings":
                yield "pin setting"
        elif kind == "ExecuteStmt":
            yield "sqlprepare"
        elif kind == "IntoClause":
            if node["rel"].get("relpersistence") == "t":
                yield "pin temporary_object"


def setting(node):
    kind, name, local = node["kind"], node.get("name", "").lower(), node.get("is_local", False)
    if kind == "VAR_SET_MULTI":
        if name == "session characteristics":
            for option in node["args"]:
                yield "set default_" + option["DefElem"]["defname"]
    elif kind == "VAR_RESET_ALL":
        yield "resetall"
    elif kind == "VAR_RESET" or (kind == "VAR_SET_DEFAULT" and not local):
        yield f"reset {name}"
    else:
        yield f"{'local' if local else 'set'} {name}"


def transaction(node):
    kind, name = node["kind"].removeprefix("TRANS_STMT_"), node.get("savepoint_name", "")
    words = {
        "BEGIN": "begin", "START": "begin", "COMMIT": "commit", "ROLLBACK": "rollback", "PREPARE": "commit",
        "SAVEPOINT": f"savepoint {name}", "RELEASE": f"release {name}", "ROLLBACK_TO": f"rollback to {name}",
    }
    if kind in words:
        yield words[kind]
    if node.get("chain"):
        yield "chain"


def persistence(relation):
    if relation.get("relpersistence") == "t":
        yield "pin temporary_object"


def explained(node):
    analyze = False
    for option in node.get("options", []):
        if option["DefElem"]["defname"] in ("analyze", "analyse"):
            argument = option["DefElem"].get("arg", {})
            value = next(iter(argument.values()), {})
            said = str(value.get("sval", value.get("ival", value.get("boolval", "true")))).lower()
            analyze = said not in ("false", "off", "0") and argument != {"Integer": {}}
    return analyze


def statement(tree):
    """What one statement leaves behind, by the type of its node."""
    (kind, node), = tree.items()
    if kind == "TransactionStmt":
        yield from transaction(node)
    elif kind == "VariableSetStmt":
        yield from setting(node)
    elif kind in ("SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt", "ExecuteStmt"):
        yield from run(tree)
    elif kind == "CreateTableAsStmt":
        yield from run(tree)
    elif kind == "CreateStmt":
        yield from persistence(node["relation"])
        yield from run(node.get("partbound", {}))
    elif kind == "ViewStmt":
        yield from persistence(node["view"])
    elif kind == "CreateSeqStmt":
        yield from persistence(node["sequence"])
    elif kind == "IndexStmt":
        yield from run([node.get("indexParams", []), node.get("whereClause", {})])
    elif kind in ("AlterTableStmt", "AlterDomainStmt"):
        yield from run(node)
        for kind, inner in nodes(node):
            if kind == "ColumnDef" and names(inner.get("typeName", {}).get("names", []))[-1:] and \
                    names(inner["typeName"]["names"])[-1] in SERIALS:
                yield "sequencestep"
            if kind == "Constraint" and inner["contype"] == "CONSTR_IDENTITY":
                yield "sequencestep"
    elif kind == "CopyStmt":
        if node.get("is_from"):
            yield "sequencestep"
        yield from run([node.get("query", {}), node.get("whereClause", {})])
    elif kind == "ExplainStmt":
        if explained(node):
            yield from statement(node["query"])
        elif any(kind == "ExecuteStmt" for kind, _ in nodes(node)):
            yield "sqlprepare"
    elif kind == "DeclareCursorStmt":
        if node.get("options", 0) & CURSOR_HOLD:
            yield "pin held_cursor"
        yield from run(node["query"])
    elif kind == "PrepareStmt":
        yield "sqlprepare"
    elif kind == "DeallocateStmt":
        yield f"deallocate {node['name']}" if "name" in node else "deallocateall"
    elif kind == "DiscardStmt":
        target = node["target"]
        if target != "DISCARD_PLANS":
            words = {"DISCARD_ALL": "discardall", "DISCARD_SEQUENCES": "discardsequences"}
            yield words.get(target, "mayunpin")
    elif kind == "ListenStmt":
        yield "pin listen"
    elif kind in ("UnlistenStmt", "ClosePortalStmt", "DropStmt"):
        yield "mayunpin"
    elif kind == "LoadStmt":
        yield "pin load"
    elif kind == "CallStmt":
        yield "unsure"
        yield from run(node)
    elif kind in ("DoStmt", "CreateExtensionStmt", "AlterExtensionStmt", "AlterExtensionContentsStmt", "CreatePLangStmt",
                  "ImportForeignSchemaStmt"):
        yield "unsure"


def temporary(tree):
    """A mention of the temporary schema, in whatever statement."""
    found = []

    def walk(value):
        if isinstance(value, dict):
            found.extend(value[key] for key in ("schemaname", "catalogname") if isinstance(value.get(key), str))
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            parts = [part for part in value if isinstance(part, dict)]
            if len(parts) > 1 and all("String" in part for part in parts):
                found.append(names(parts)[0])
            for inner in value:
                walk(inner)

    walk(tree)
    return any(re.fullmatch(r"pg_temp(_\d+)?", name) for name in found)


def read(paths):
    for path in paths:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            script = file.read()
        for text, statements in pieces(chunks(script)):
            if not statements:
                continue
            left = []
            for number, parsed in enumerate(statements):
                kind = next(iter(parsed["stmt"]))
                own = list(statement(parsed["stmt"]))
                if temporary(parsed["stmt"]) and not (kind == "ExplainStmt" and not explained(parsed["stmt"][kind])):
                    own.append("pin temporary_object")
                left.append({"kind": kind, "left": sorted(set(own))})
            print(json.dumps({"file": path.rsplit("/", 1)[-1], "text": text, "statements": left}))


def same():
    def bare(tree):
        if isinstance(tree, dict):
            return {key: bare(value) for key, value in tree.items() if not re.search(r"location$|^stmt_len$|^jumble_args$", key)}
        return [bare(value) for value in tree] if isinstance(tree, list) else tree

    def meaning(text):
        return bare(json.loads(parse_sql_json(text)))

    for line in sys.stdin:
        one, two = json.loads(line)
        try:
            if meaning(one) == meaning(two):
                continue
        except ParseError as error:
            two = f"{two} -- {error}"
        print(json.dumps([one, two]))


if __name__ == "__main__":
    if sys.argv[1:2] == ["same"]:
        same()
    else:
        read(sys.argv[2:])
