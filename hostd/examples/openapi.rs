//! Prints the OpenAPI document as the types make it; the check compares it with docs/reference/openapi.json.

use hostd::api::Document;
use utoipa::OpenApi as _;

fn main() {
    println!("{}", Document::openapi().to_pretty_json().unwrap_or_default());
}
