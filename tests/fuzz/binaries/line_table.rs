//! The target `line_table` for libFuzzer.
#![no_main]

asyncio_agent_fuzz::fuzz!("line_table");
