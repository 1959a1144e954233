//! The target `render` for libFuzzer.
#![no_main]

asyncio_agent_fuzz::fuzz!("render");
