//! The target `debug_offsets` for libFuzzer.
#![no_main]

asyncio_agent_fuzz::fuzz!("debug_offsets");
