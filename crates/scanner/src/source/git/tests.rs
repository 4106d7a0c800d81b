//! placeholder until tests land
