//! The target `walk` for libFuzzer.
#![no_main]

asyncio_agent_fuzz::fuzz!("walk");
