//! The target `loops` for libFuzzer.
#![no_main]

asyncio_agent_fuzz::fuzz!("loops");
