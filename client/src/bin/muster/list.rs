//! `muster list`

use std::num::NonZeroUsize;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use muster_client::Client;
use muster_client::api::kv::{Item, MAX_PAGE};
use muster_client::flags::count;
use muster_client::http::Entry;

use crate::failure::Failure;
use crate::output::{self, Format};

/// List keys and values, in byte order of the keys
///
/// Fetched page by page; each page is one consistent cut.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  muster list
  muster list config/ --keys
  muster list -o json | jq -r .key

Tables shorten values; tables and plain text escape control characters; -o json gives values exactly,
in base64, one key a line.")]
pub(crate) struct List {
    /// Only keys that start with this
    #[arg(default_value = "", hide_default_value = true)]
    prefix: String,

    /// Leave the values out
    #[arg(long)]
    keys: bool,

    /// Stop after so many keys
    #[arg(long, value_name = "N", value_parser = count::<NonZeroUsize>)]
    limit: Option<NonZeroUsize>,

    /// Have a majority confirm each page
    #[arg(long)]
    linearizable: bool,
}

impl List {
    pub(crate) async fn run(self, client: &Client, format: Format) -> Result<(), Failure> {
        let mut left = self.limit.map_or(usize::MAX, NonZeroUsize::get);
        let mut pages = client.list(self.prefix).page_size(left.clamp(1, MAX_PAGE));
        if self.keys {
            pages = pages.keys_only();
        }
        if self.linearizable {
            pages = pages.linearizable();
        }
        let mut first = true;
        while left > 0 {
            let Some(mut page) = pages.next_page().await? else { break };
            page.truncate(left);
            left -= page.len();
            show(&page, self.keys, format, first)?;
            first = false;
        }
        Ok(())
    }
}

fn show(page: &[Entry], keys: bool, format: Format, first: bool) -> std::io::Result<()> {
    let key = |entry: &Entry| output::escaped(entry.key.as_bytes());
    match format {
        Format::Json => page.iter().try_for_each(|entry| {
            output::json(&Item {
                key: entry.key.clone(),
                value: (!keys).then(|| STANDARD.encode(&entry.value)),
                create_revision: entry.create_revision,
                modify_revision: entry.modify_revision,
            })
        }),
        Format::Plain if keys => page.iter().try_for_each(|entry| output::line(&key(entry))),
        Format::Plain => page
            .iter()
            .try_for_each(|entry| output::line(&format!("{}\t{}", key(entry), output::escaped(&entry.value)))),
        Format::Table if page.is_empty() => Ok(()),
        Format::Table if keys => {
            let row = |entry: &Entry| [key(entry).into(), entry.modify_revision.to_string().into()];
            output::table(["KEY", "REVISION"], &page.iter().map(row).collect::<Vec<_>>(), first)
        }
        Format::Table => {
            let row = |entry: &Entry| {
                [key(entry).into(), entry.modify_revision.to_string().into(), output::cell(&entry.value).into()]
            };
            output::table(["KEY", "REVISION", "VALUE"], &page.iter().map(row).collect::<Vec<_>>(), first)
        }
    }
}
