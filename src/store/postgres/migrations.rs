//! The schema in PostgreSQL, and how a database gets it. Several replicas may start at once, and of two releases.

use tokio_postgres::{Client, IsolationLevel, types::Type};

use super::{connect::Session, error::PostgresError};

/// The migrations, in order. Append-only: one that has been released is never changed.
const MIGRATIONS: [&str; 1] = [include_str!("../../../sql/postgres/0001_initial.sql")];

/// Takes the lock of all writers of the schema that is first in `search_path`, as `publisher_lineage()` does: replicas
/// migrate one after the other, and nobody writes meanwhile.
const LOCK: &str = "SELECT pg_advisory_xact_lock(1667331168, hashoid(oid)) FROM pg_namespace
                    WHERE nspname = current_schema()";

/// The schema cannot be used by this program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaFault {
    /// `search_path` names no schema in which tables could be created.
    #[error(
        "the database has no schema to use: the search_path of the role names none that exists"
    )]
    NoSchema,
    /// The database was migrated by a later release, which does not allow this one beside it.
    #[error(
        "the database has schema version {version}, which needs a program of version {oldest_program}; this one has \
         version {program}"
    )]
    TooNew {
        /// The version of the schema.
        version: i32,
        /// The oldest program that may use it.
        oldest_program: i32,
        /// The version of this program: the number of its migrations.
        program: i32,
    },
    /// The database is empty, and there is a board of it.
    #[error(
        "the database is empty, and the snapshot file has a board: restore the database, or remove the file to begin anew"
    )]
    Empty,
    /// Tables were found in a schema that stands later in the search_path: perhaps the first one was made by accident.
    #[error(
        "schema {schema:?} is empty, and {other:?}, which follows in the search_path, has the tables: name only one of them"
    )]
    Ambiguous {
        /// The first schema of the search_path.
        schema: String,
        /// The one with the tables.
        other: String,
    },
    /// The role may not write.
    #[error(
        "the role may not write to the tables: grant it INSERT, UPDATE and DELETE on them and USAGE on their sequences, or \
         use --read-only"
    )]
    MayNotWrite,
    /// There are tables of those names, and another program has made them.
    #[error(
        "schema {schema:?} has a table {table:?} of another program: name another schema or database"
    )]
    Foreign {
        /// The first schema of the search_path.
        schema: String,
        /// The table.
        table: String,
    },
    /// A program that only reads does not migrate.
    #[error(
        "the database has schema version {version}, and this program needs version {program}: start one that may write \
         first"
    )]
    TooOld {
        /// The version of the schema; 0 if there is none.
        version: i32,
        /// The version of this program.
        program: i32,
    },
}

/// Returns the schema version of this program.
fn program() -> i32 {
    i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX)
}

/// What `publisher_schema` says.
#[derive(Debug, Clone, Copy, Default)]
struct Applied {
    /// 0 if the database is empty.
    version: i32,
    oldest_program: i32,
}

impl Applied {
    async fn of(client: &Client) -> Result<Self, PostgresError> {
        // Not in another schema of the search_path. From the catalogue: after a wait for the lock, to_regclass() may still
        // say what it said before.
        let schema = client
            .query_typed_one(
                "SELECT current_schema() IS NOT NULL AS found, EXISTS (
                    SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
                    WHERE c.relname = 'publisher_schema' AND n.nspname = current_schema()) AS migrated",
                &[],
            )
            .await?;
        if !schema.try_get::<_, bool>("found")? {
            return Err(SchemaFault::NoSchema.into());
        }
        if !schema.try_get::<_, bool>("migrated")? {
            return Ok(Self::default());
        }
        let applied = "SELECT coalesce(max(version), 0), coalesce(max(oldest_program), 0) FROM publisher_schema";
        let applied = client.query_typed_one(applied, &[]).await?;
        Ok(Self {
            version: applied.try_get(0)?,
            oldest_program: applied.try_get(1)?,
        })
    }

    /// A schema of a later release may be used if that allows it.
    fn check(self) -> Result<(), SchemaFault> {
        if self.oldest_program > program() {
            return Err(SchemaFault::TooNew {
                version: self.version,
                oldest_program: self.oldest_program,
                program: program(),
            });
        }
        Ok(())
    }
}

/// Checks that a program that only reads can use the schema.
///
/// # Errors
/// [`PostgresError::Schema`] if not.
pub(super) async fn check(client: &Client) -> Result<(), PostgresError> {
    let applied = Applied::of(client).await?;
    applied.check()?;
    if applied.version < program() {
        return Err(SchemaFault::TooOld {
            version: applied.version,
            program: program(),
        }
        .into());
    }
    Ok(())
}

/// Brings the schema to the version of this program, each migration in one transaction. Changes nothing if it is there,
/// and needs no right to create anything then. Creates nothing in an empty database unless it `may_create` it.
///
/// # Errors
/// [`PostgresError::Schema`]; otherwise that of the migration that failed: nothing of it is left.
pub(super) async fn migrate(session: &mut Session, may_create: bool) -> Result<(), PostgresError> {
    loop {
        let applied = Applied::of(session.client()).await?;
        applied.check()?;
        if applied.version >= program() {
            return check_rights(session.client()).await;
        }
        if applied.version == 0 && !may_create {
            return Err(SchemaFault::Empty.into());
        }
        step(session).await?;
    }
}

/// Checks that the role may do what a commit does.
async fn check_rights(client: &Client) -> Result<(), PostgresError> {
    let may_write = "SELECT bool_and(has_table_privilege(oid, 'SELECT')
            AND (relname <> 'eval_runs' OR has_table_privilege(oid, 'INSERT'))
            AND (relname <> 'challenges' OR has_table_privilege(oid, 'INSERT') AND has_table_privilege(oid, 'UPDATE'))
            AND (relname <> 'merkle_epochs' OR has_table_privilege(oid, 'INSERT') AND has_table_privilege(oid, 'UPDATE'))
            AND (relname NOT IN ('board_version', 'feed_version') OR has_table_privilege(oid, 'UPDATE'))
            AND (relname <> 'lineages' OR has_table_privilege(oid, 'INSERT'))
            AND (relkind <> 'S' OR has_sequence_privilege(oid, 'USAGE')))
        FROM pg_class WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
            AND relname IN ('challenges', 'eval_runs', 'merkle_epochs', 'board_version', 'feed_version', 'lineages', 'pruned',
                            'eval_runs_seq_seq', 'challenges_revision')";
    let row = client.query_typed_one(may_write, &[]).await?;
    if row.try_get::<_, Option<bool>>(0)? == Some(false) {
        return Err(SchemaFault::MayNotWrite.into());
    }
    Ok(())
}

/// Checks that a schema without this program's tables has none of the same names, and is the one that is meant.
async fn check_foreign(client: &Client) -> Result<(), PostgresError> {
    let foreign = "SELECT current_schema()::text, relname::text FROM pg_class
        WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
            AND relname IN ('challenges', 'eval_runs', 'merkle_epochs', 'board_version', 'feed_version', 'lineages', 'pruned')
        ORDER BY relname LIMIT 1";
    let later = "SELECT current_schema()::text, n.nspname::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.relname = 'publisher_schema' AND n.nspname = ANY (current_schemas(false)) LIMIT 1";
    if let Some(row) = client.query_typed(later, &[]).await?.first() {
        return Err(SchemaFault::Ambiguous {
            schema: row.try_get(0)?,
            other: row.try_get(1)?,
        }
        .into());
    }
    match client.query_typed(foreign, &[]).await?.first() {
        Some(row) => Err(SchemaFault::Foreign {
            schema: row.try_get::<_, String>(0)?,
            table: row.try_get(1)?,
        }
        .into()),
        None => Ok(()),
    }
}

/// Applies the next migration, unless another replica was faster.
async fn step(session: &mut Session) -> Result<(), PostgresError> {
    // After the lock, each statement sees what was committed before it.
    let transaction = session.client_mut().build_transaction();
    let transaction = transaction
        .isolation_level(IsolationLevel::ReadCommitted)
        .start()
        .await?;
    // It may have to wait for the migrations of another replica, and to rewrite a large table.
    transaction
        .batch_execute("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0")
        .await?;
    transaction.query_typed(LOCK, &[]).await?;
    let applied = Applied::of(transaction.client()).await?;
    applied.check()?;
    let next = usize::try_from(applied.version).ok();
    let Some(migration) = next.and_then(|next| MIGRATIONS.get(next)) else {
        return Ok(());
    };
    if applied.version == 0 {
        check_foreign(transaction.client()).await?;
    }
    transaction.batch_execute(migration).await?;
    let version = applied.version + 1;
    let recorded = "SELECT 1 FROM publisher_schema WHERE version = $1";
    let recorded = transaction
        .query_typed(recorded, &[(&version, Type::INT4)])
        .await?;
    debug_assert!(
        !recorded.is_empty(),
        "a migration ends with its own row of publisher_schema"
    );
    transaction.commit().await?;
    log::info!("the schema of the database has version {version} now");
    Ok(())
}
