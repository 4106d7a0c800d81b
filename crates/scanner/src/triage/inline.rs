//! STUB
use crate::finding::InlineAllow;
pub(crate) fn marker(_: &[u8], _: &str) -> Option<InlineAllow> {
    None
}
pub(crate) fn marker_above(_: &[u8], _: &str) -> Option<InlineAllow> {
    None
}
