//! The target `codec` for libFuzzer.
#![no_main]

asyncio_agent_fuzz::fuzz!("codec");
