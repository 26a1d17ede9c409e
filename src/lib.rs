//! draft
pub mod cache;
pub mod config;
pub mod demo;
pub mod domain;
pub mod feed;
pub mod health;
pub mod http;
pub mod representation;
pub mod server;
pub mod store;
pub mod transfer;
