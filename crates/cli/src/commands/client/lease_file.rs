//! The file that holds what renews a lease and gives it back.

use std::path::Path;

use anyhow::{Context as _, bail};
use claviger_broker::secret::Secret;
use claviger_broker::server::wire::ReceivedLease;
use zeroize::Zeroizing;

use super::steps::write_private;

/// The longest file that is read, in bytes.
const MAX: u64 = 16 * 1024;

/// A lease that was written down.
pub(super) struct Kept {
    /// The broker's address.
    pub(super) broker: Option<String>,
    /// The lease's handle.
    pub(super) handle: Secret,
}

/// Writes a lease's handle, readable by its owner alone.
pub(super) fn write(path: &Path, broker: &str, lease: &ReceivedLease) -> anyhow::Result<()> {
    let text = Zeroizing::new(
        serde_json::json!({
            "broker": broker,
            "id": lease.id,
            "expires_at": lease.expires_at.to_string(),
            "handle": lease.handle.expose_text().unwrap_or_default(),
        })
        .to_string(),
    );
    write_private(path, text.as_bytes()).with_context(|| format!("--lease {}", path.display()))
}

/// Reads it, or the handle from `CLAVIGER_HANDLE`.
pub(super) fn read(path: Option<&Path>) -> anyhow::Result<Kept> {
    let Some(path) = path else {
        return match std::env::var("CLAVIGER_HANDLE") {
            Ok(handle) if !handle.is_empty() => Ok(Kept { broker: None, handle: Secret::text(handle) }),
            _ => bail!(
                "which lease? Name the file that `claviger exchange --lease` wrote, or set CLAVIGER_HANDLE"
            ),
        };
    };
    let shown = || format!("--lease {}", path.display());
    let length = std::fs::metadata(path).with_context(shown)?.len();
    if length > MAX {
        bail!("{}: this is no lease file: it has {length} bytes", shown());
    }
    let text = Zeroizing::new(std::fs::read(path).with_context(shown)?);
    let mut value: serde_json::Value =
        serde_json::from_slice(&text).map_err(|_| anyhow::anyhow!("{}: this is no lease file", shown()))?;
    let handle = match value.get_mut("handle").map(serde_json::Value::take) {
        Some(serde_json::Value::String(handle)) => Secret::text(handle),
        _ => bail!("{}: it has no `handle`", shown()),
    };
    let broker = value.get("broker").and_then(serde_json::Value::as_str).map(str::to_owned);
    Ok(Kept { broker, handle })
}
