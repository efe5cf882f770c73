//! Parsers against arbitrary text: none panics, and what is accepted is what it says.

use proptest::prelude::*;
use tenant::{
    TenantName,
    config::{Fragment, parse_toml, set},
    model::{
        facts::{CgroupFacts, KernelVersion},
        host::{HostConfig, Pool4, Pool6},
        ids::{Digest, Index},
        image::{ImageRef, Manifest},
        limits::{ByteSize, CpuQuota, Weight},
        path::TenantPath,
    },
};

proptest! {
    #[test]
    fn an_accepted_name_is_safe_in_a_path_a_unit_and_a_terminal(text in "\\PC{0,60}|[a-z][a-z0-9-]{0,50}") {
        if let Ok(name) = text.parse::<TenantName>() {
            prop_assert_eq!(name.as_str(), text.as_str());
            prop_assert!(text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
            prop_assert!(!text.starts_with('-') && !text.ends_with('-') && text.len() <= 48);
        }
    }

    #[test]
    fn an_accepted_path_leads_below_the_root(text in "(/|\\.|\\.\\.|[a-z]{1,3}|\\PC){0,12}") {
        if let Ok(path) = text.parse::<TenantPath>() {
            let components: Vec<_> = std::path::Path::new(path.relative()).components().collect();
            prop_assert_eq!(components.len(), path.depth());
            let all_normal = components.iter().all(|part| matches!(part, std::path::Component::Normal(_)));
            prop_assert!(all_normal);
        }
    }

    #[test]
    fn a_reference_is_printed_as_it_is_read(text in "[a-z0-9][a-z0-9._-]{0,20}(:[a-z0-9]{1,8}|@sha256:[0-9a-f]{6,64})?") {
        let reference: ImageRef = text.parse().unwrap();
        prop_assert_eq!(reference.to_string().parse::<ImageRef>().unwrap(), reference);
    }

    #[test]
    fn a_digest_is_printed_as_it_is_read(bytes in any::<[u8; 32]>()) {
        let digest = Digest::from_bytes(bytes);
        prop_assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        prop_assert_eq!(digest.dir_name().parse::<Digest>().unwrap(), digest);
    }

    #[test]
    fn a_size_is_printed_as_it_is_read(bytes in any::<u64>()) {
        prop_assert_eq!(ByteSize(bytes).to_string().parse::<ByteSize>().unwrap(), ByteSize(bytes));
    }

    #[test]
    fn every_index_has_an_address_in_its_pool_or_none(index in 1..=Index::MAX, prefix in 8u8..=30) {
        let pool: Pool4 = format!("0.0.0.0/{prefix}").parse().unwrap();
        let index = Index::try_from(index).unwrap();
        match pool.address(index) {
            Some(address) => {
                prop_assert!(pool.contains(address));
                prop_assert!(address.to_bits() != 0 && address.to_bits() != u32::MAX >> prefix);
            }
            None => prop_assert!(index.get() >= u32::MAX >> prefix),
        }
    }

    #[test]
    fn no_text_makes_a_parser_panic(text in "\\PC{0,200}|[a-z_.\"\\[\\]{}= 0-9\n]{0,200}") {
        let _ = parse_toml::<Fragment>(&text);
        let _ = set(&text);
        let _ = HostConfig::parse(&text);
        let _ = Manifest::parse(&text);
        let _ = text.parse::<ImageRef>();
        let _ = text.parse::<CpuQuota>();
        let _ = text.parse::<Weight>();
        let _ = text.parse::<Pool6>();
        let _ = KernelVersion::parse(&text);
        let _ = CgroupFacts::parse(&text, text.as_bytes());
    }
}
