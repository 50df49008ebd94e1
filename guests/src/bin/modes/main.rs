#![no_std]
#![no_main]
//! t
guests::guest!(main);
fn main(){}
