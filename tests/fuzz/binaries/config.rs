//! The target `config` for libFuzzer.
#![no_main]

asyncio_agent_fuzz::fuzz!("config");
