//! The target `matching` for libFuzzer.
#![no_main]

asyncio_agent_fuzz::fuzz!("matching");
