//! What a session of the console may see: its own catalogue, made for who it is.
//!
//! What always holds: there is no object store, no file format and no table factory, so that nothing outside these tables can
//! be named; nothing is spilled to disk; each table knows whose rows it shows.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, StringArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::catalog::{
    CatalogProvider, MemoryCatalogProvider, MemoryCatalogProviderList, MemorySchemaProvider, SchemaProvider,
};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::{ColumnarValue, Volatility, create_udf};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider;
use datafusion_pg_catalog::pg_catalog::setup_pg_catalog;

use super::catalogue::Catalogue;
use super::checkpoints::CheckpointTable;
use super::literals::Times;
use super::live::{LiveTable, What};
use super::settings::Told;
use super::tables::{LogTable, Which};
use super::{Identity, Inner};
use crate::customers::RESERVED_DATABASE;

/// A text that takes more of a query's memory than this part is not shown.
const TEXT_PART: usize = 4;

/// Makes the context of one session.
///
/// # Errors
/// What DataFusion says; nothing that depends on the client.
pub(super) async fn context(console: &Inner, identity: &Identity, told: &Told) -> Result<SessionContext> {
    let memory = console.config.memory_bytes;
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(GreedyMemoryPool::new(memory)))
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
        .build_arc()?;
    let files = ObjectStoreUrl::local_filesystem();
    runtime.deregister_object_store(files.as_ref())?;
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema(RESERVED_DATABASE, "audit")
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(true)
        .with_target_partitions(1)
        .with_batch_size(1024);
    // `timestamptz` is what records have.
    config.options_mut().execution.time_zone = Some("UTC".to_owned());
    // What is compared there differs in what may be NULL, after subqueries were rewritten, and in nothing else.
    config.options_mut().execution.skip_physical_aggregate_schema_check = true;
    let catalogs = Arc::new(MemoryCatalogProviderList::new());
    let state = SessionStateBuilder::new_with_default_features()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_catalog_list(catalogs)
        .with_analyzer_rule(Arc::new(Times))
        .with_file_formats(Vec::new())
        .with_table_factories(std::collections::HashMap::new())
        .build();
    let context = SessionContext::new_with_state(state);
    let catalog: Arc<dyn CatalogProvider> = Arc::new(MemoryCatalogProvider::new());
    catalog.register_schema("audit", audit(console, identity)?)?;
    catalog.register_schema("live", live(console, identity)?)?;
    context.register_catalog(RESERVED_DATABASE, Arc::clone(&catalog));
    setup_pg_catalog(&context, RESERVED_DATABASE, EmptyContextProvider).map_err(|error| *error)?;
    if let Some(engines) = catalog.schema("pg_catalog") {
        catalog.register_schema("pg_catalog", Arc::new(Catalogue::new(engines, &identity.login, told)))?;
    }
    super::shims::register(&context);
    super::functions::register(&context, told, &identity.login);
    for name in ["session_user", "current_user", "user"] {
        constant(&context, name, &identity.login);
    }
    let usage = MemorySchemaProvider::new();
    usage.register_table("daily".to_owned(), super::usage::daily(&context).await?)?;
    catalog.register_schema("usage", Arc::new(usage))?;
    Ok(context)
}

fn audit(console: &Inner, identity: &Identity) -> Result<Arc<dyn SchemaProvider>> {
    let tables = MemorySchemaProvider::new();
    for which in Which::ALL {
        let source = console.source.clone();
        let text_bytes_max = console.config.memory_bytes.checked_div(TEXT_PART).unwrap_or_default();
        let table = LogTable::new(which, source, identity.customer.clone(), text_bytes_max);
        tables.register_table(which.name().to_owned(), Arc::new(table))?;
    }
    let checkpoints = CheckpointTable::new(console.source.clone(), identity.customer.clone());
    tables.register_table("checkpoints".to_owned(), Arc::new(checkpoints))?;
    Ok(Arc::new(tables))
}

fn live(console: &Inner, identity: &Identity) -> Result<Arc<dyn SchemaProvider>> {
    let tables = MemorySchemaProvider::new();
    for what in What::ALL {
        let table = LiveTable::new(what, (&identity.board, &console.told), identity.customer.clone());
        tables.register_table(what.name().to_owned(), Arc::new(table))?;
    }
    Ok(Arc::new(tables))
}

/// A function without arguments that answers one text.
fn constant(context: &SessionContext, name: &str, value: &str) {
    let array: ArrayRef = Arc::new(StringArray::from(vec![value]));
    let answer = move |_: &[ColumnarValue]| -> std::result::Result<ColumnarValue, DataFusionError> {
        let scalar = datafusion::common::ScalarValue::try_from_array(&array, 0)?;
        Ok(ColumnarValue::Scalar(scalar))
    };
    let function = create_udf(name, Vec::new(), DataType::Utf8, Volatility::Stable, Arc::new(answer));
    context.register_udf(function);
}
