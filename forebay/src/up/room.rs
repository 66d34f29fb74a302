//! How full the log is, and whether the disks have room for what may still come.

use crate::up::UpArgs;
use service::files::free_bytes;
use service::metrics::{Bound, Level, show_bound};
use std::sync::Arc;
use store::Store;

/// Shows the bounds of log and disks. The log grows to its limit; the lake must have room for as much as a full log brings.
pub(crate) fn show(store: &Arc<Store>, args: &UpArgs) {
    let (view, bytes_max) = (store.view().clone(), args.log.log_bytes_max as f64);
    let log_bytes = move || view.log_size().0 as f64;
    let used = log_bytes.clone();
    show_bound(Bound::LogBytes, move || Level { used: used(), limit: bytes_max });
    let (data, lake) = (args.places.data_dir.clone(), args.places.lake_dir());
    show_bound(Bound::DiskFreeBytes, move || Level {
        used: free_bytes(&data),
        limit: (bytes_max - log_bytes()).max(0.0),
    });
    show_bound(Bound::LakeDiskFreeBytes, move || Level { used: free_bytes(&lake), limit: bytes_max });
}
