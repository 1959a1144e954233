//! The target `maps` for libFuzzer.
#![no_main]

asyncio_agent_fuzz::fuzz!("maps");
