//! Functions that tools ask a server about itself with, and the query engine does not have.
//!
//! What always holds: they answer what is true of a server with these tables, or NULL; none has an effect.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::prelude::SessionContext;

/// Answer NULL: nothing is described, and there are no views, indexes, rules, files or functions of anybody's.
const NOTHING: [&str; 29] = [
    "obj_description",
    "pg_advisory_unlock_all",
    "col_description",
    "shobj_description",
    "pg_get_viewdef",
    "pg_get_functiondef",
    "pg_get_indexdef",
    "pg_get_ruledef",
    "pg_get_triggerdef",
    "pg_get_function_result",
    "pg_get_function_arguments",
    "pg_get_function_identity_arguments",
    "pg_get_function_arg_default",
    "pg_get_function_sqlbody",
    "pg_get_serial_sequence",
    "pg_get_partition_constraintdef",
    "pg_get_statisticsobjdef",
    "pg_get_statisticsobjdef_expressions",
    "pg_tablespace_location",
    "pg_describe_object",
    "pg_relation_filepath",
    "acldefault",
    "to_regclass",
    "to_regproc",
    "to_regnamespace",
    "inet_client_addr",
    "inet_server_addr",
    "pg_collation_for",
    "pg_current_logfile",
];

/// Answer true: everything there is may be seen.
const TRUE: [&str; 17] = [
    "pg_function_is_visible",
    "pg_type_is_visible",
    "pg_opclass_is_visible",
    "pg_opfamily_is_visible",
    "pg_operator_is_visible",
    "pg_collation_is_visible",
    "pg_conversion_is_visible",
    "pg_statistics_obj_is_visible",
    "pg_ts_config_is_visible",
    "pg_ts_dict_is_visible",
    "pg_ts_parser_is_visible",
    "pg_ts_template_is_visible",
    "has_function_privilege",
    "has_column_privilege",
    "has_type_privilege",
    "has_language_privilege",
    "pg_has_role",
];

/// Answer false.
const FALSE: [&str; 8] = [
    "pg_is_in_recovery",
    "pg_is_wal_replay_paused",
    "has_sequence_privilege",
    "has_server_privilege",
    "has_tablespace_privilege",
    "has_foreign_data_wrapper_privilege",
    "has_parameter_privilege",
    "row_security_active",
];

/// Answer 0: nothing here has a size.
const ZERO: [&str; 9] = [
    "pg_relation_size",
    "pg_total_relation_size",
    "pg_table_size",
    "pg_indexes_size",
    "pg_database_size",
    "pg_tablespace_size",
    "pg_my_temp_schema",
    "inet_server_port",
    "pg_relation_is_updatable",
];

/// Registers them all.
pub(super) fn register(context: &SessionContext) {
    let text = |value: &str| ScalarValue::Utf8(Some(value.to_owned()));
    let constants = NOTHING
        .iter()
        .map(|name| (*name, ScalarValue::Utf8(None)))
        .chain(TRUE.iter().map(|name| (*name, ScalarValue::Boolean(Some(true)))))
        .chain(FALSE.iter().map(|name| (*name, ScalarValue::Boolean(Some(false)))))
        .chain(ZERO.iter().map(|name| (*name, ScalarValue::Int64(Some(0)))))
        .chain([
            ("pg_size_pretty", text("0 bytes")),
            ("getdatabaseencoding", text("UTF8")),
            ("pg_char_to_encoding", ScalarValue::Int32(Some(6))),
            ("pg_client_encoding", text("UTF8")),
            ("version", text("PostgreSQL 16.0 (OneVault console)")),
        ]);
    for (name, answer) in constants {
        register_one(context, name, Answer::Always(answer));
    }
    register_one(context, "set_config", Answer::Argument(1));
}

fn register_one(context: &SessionContext, name: &'static str, answer: Answer) {
    let signature = Signature::one_of(
        vec![
            datafusion::logical_expr::TypeSignature::VariadicAny,
            datafusion::logical_expr::TypeSignature::Nullary,
        ],
        Volatility::Stable,
    );
    context.register_udf(ScalarUDF::new_from_shared_impl(Arc::new(Shim { name, answer, signature })));
}

#[derive(Debug, PartialEq, Eq, Hash)]
enum Answer {
    Always(ScalarValue),
    /// The argument with this number, from 0.
    Argument(usize),
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Shim {
    name: &'static str,
    answer: Answer,
    signature: Signature,
}

impl ScalarUDFImpl for Shim {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(match &self.answer {
            Answer::Always(value) => value.data_type(),
            Answer::Argument(number) => arguments.get(*number).cloned().unwrap_or(DataType::Utf8),
        })
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(match &self.answer {
            Answer::Always(value) => ColumnarValue::Scalar(value.clone()),
            Answer::Argument(number) => {
                arguments.args.get(*number).cloned().unwrap_or(ColumnarValue::Scalar(ScalarValue::Utf8(None)))
            }
        })
    }
}
