#![no_main]
//! The customer is taken out of `options` wholly: what goes on to the server names none.

use libfuzzer_sys::fuzz_target;
use onevault::routing::take_customer_option;

fuzz_target!(|options: &str| {
    let taken = take_customer_option(options);
    assert!(taken.rest.len() <= options.len() + 1);
    let again = take_customer_option(&taken.rest);
    assert!(again.customers.is_empty(), "{:?} is left of {options:?}", again.customers);
    assert_eq!(again.rest, taken.rest);
});
