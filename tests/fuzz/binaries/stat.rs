//! The target `stat` for libFuzzer.
#![no_main]

asyncio_agent_fuzz::fuzz!("stat");
