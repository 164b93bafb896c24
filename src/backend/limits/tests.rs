//! Turns, step by step and against a simple model.

use super::*;
