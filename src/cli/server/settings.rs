//! From the file, the environment and the command line to a [`Config`].

use ringlane_config::{Config, Notes};

use crate::args::ServerArgs;
use crate::exit::Failed;

/// Variables of the command line itself, which are no keys.
const OWN_VARIABLES: [&str; 3] = ["RINGLANE_LOG", "RINGLANE_LOG_FORMAT", "RINGLANE_BROKERS"];

pub fn read(args: &ServerArgs) -> Result<(Config, Notes), Failed> {
    let mut builder = Config::builder();
    if let Some(path) = &args.config {
        // Before any shard runs: nobody waits for this thread.
        #[expect(
            clippy::disallowed_methods,
            reason = "the runtime's files need a shard, and shards need the configuration"
        )]
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failed::new(format!("cannot read the configuration {}: {error}", path.display())))?;
        builder = builder.properties(&text, &path.display().to_string());
    }
    let variables =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    builder = builder.environment(variables.filter(|(name, _)| !OWN_VARIABLES.contains(&name.as_str())));
    for setting in &args.settings {
        builder = builder.setting(setting);
    }
    if let Some(data) = &args.data {
        let data = data.to_str().ok_or_else(|| Failed::new(format!("--data {}: not UTF-8", data.display())))?;
        builder = builder.set("log.dirs", data);
    }
    if let Some(listen) = &args.listen {
        builder = builder.set("listeners", &format!("PLAINTEXT://{listen}"));
    }
    if let Some(cores) = &args.cores {
        builder = builder.set("shard.cores", cores);
    }
    builder.build().map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Failed::new(lines.join("\nringlane: "))
    })
}

/// What works and may still surprise.
pub fn warn(notes: &Notes) {
    if !notes.ignored.is_empty() {
        tracing::warn!(keys = notes.ignored.join(","), "these keys of Kafka have no effect here");
    }
    if !notes.ignored_guards.is_empty() {
        let keys = notes.ignored_guards.join(",");
        tracing::warn!(keys, "no authentication, authorisation or TLS: whoever reaches the port may do everything");
    }
    if !notes.unknown_variables.is_empty() {
        tracing::warn!(
            variables = notes.unknown_variables.join(","),
            "these environment variables are no configuration keys"
        );
    }
}
