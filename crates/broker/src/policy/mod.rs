//! Which identity may take which role: deny by default, no prefix, no substring, no free regular expression.

pub mod grant;
