//! The target `elf` for libFuzzer.
#![no_main]

asyncio_agent_fuzz::fuzz!("elf");
