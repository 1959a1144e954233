//! The target `text` for libFuzzer.
#![no_main]

asyncio_agent_fuzz::fuzz!("text");
