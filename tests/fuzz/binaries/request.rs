//! The target `request` for libFuzzer.
#![no_main]

asyncio_agent_fuzz::fuzz!("request");
