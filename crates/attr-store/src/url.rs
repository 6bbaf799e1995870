//! Which place a text names: a path of this machine, or a URL of an object store.

use std::path::Path;

use crate::Error;
use crate::folder::Place;

/// The schemes of object stores, which are the names of the features, too.
const SCHEMES: [&str; 3] = ["s3", "gs", "az"];

/// Finds the place that a path or a URL names.
pub fn place(path: &Path) -> Result<Place, Error> {
    let Some((url, scheme, rest)) = split(path) else {
        return Ok(Place::Local(path.into()));
    };
    if !SCHEMES.contains(&scheme) {
        return Err(Error::Scheme { url: url.into() });
    }
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(Error::Url {
            url: url.into(),
            reason: format!("it names no bucket; give {scheme}://BUCKET/PREFIX"),
        });
    }
    stored(url, scheme, bucket, prefix)
}

/// Splits a URL into itself, its scheme and what follows.
fn split(path: &Path) -> Option<(&str, &str, &str)> {
    let url = path.to_str()?;
    let (scheme, rest) = url.split_once("://")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    let scheme_is_plain =
        scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(plain);
    scheme_is_plain.then_some((url, scheme, rest))
}

#[cfg(not(any(feature = "s3", feature = "gs", feature = "az")))]
fn stored(url: &str, scheme: &str, _bucket: &str, _prefix: &str) -> Result<Place, Error> {
    Err(Error::Feature {
        url: url.into(),
        feature: scheme.into(),
    })
}

#[cfg(any(feature = "s3", feature = "gs", feature = "az"))]
fn stored(url: &str, scheme: &str, bucket: &str, prefix: &str) -> Result<Place, Error> {
    use std::sync::Arc;

    // Whoever runs the program may have chosen another provider before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let store: object_store::Result<Arc<dyn object_store::ObjectStore>> = match scheme {
        #[cfg(feature = "s3")]
        "s3" => object_store::aws::AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .build()
            .map(|store| Arc::new(store) as _),
        #[cfg(feature = "gs")]
        "gs" => object_store::gcp::GoogleCloudStorageBuilder::from_env()
            .with_bucket_name(bucket)
            .build()
            .map(|store| Arc::new(store) as _),
        #[cfg(feature = "az")]
        "az" => object_store::azure::MicrosoftAzureBuilder::from_env()
            .with_container_name(bucket)
            .build()
            .map(|store| Arc::new(store) as _),
        _ => {
            return Err(Error::Feature {
                url: url.into(),
                feature: scheme.into(),
            });
        }
    };
    let wrong = |error: object_store::Error| Error::Url {
        url: url.into(),
        reason: error.to_string(),
    };
    let root = format!("{scheme}://{bucket}");
    let folder = crate::remote::Prefix::new(store.map_err(wrong)?, &root, prefix);
    Ok(Place::Remote(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_not_urls() {
        for path in [
            "photos",
            "/a/b.npy",
            "./s3://b",
            "a b://c",
            "://b",
            "",
            "C:\\photos",
            "s3:/b",
            "3s://b",
        ] {
            assert!(split(Path::new(path)).is_none(), "{path}");
        }
    }

    #[test]
    fn urls_that_name_nothing_are_refused() {
        for (url, expected) in [
            ("http://host/x", "URLs of object stores are s3://"),
            ("gcs://b/x", "URLs of object stores are s3://"),
            ("s3://", "it names no bucket; give s3://BUCKET/PREFIX"),
            ("az:///x", "it names no bucket; give az://BUCKET/PREFIX"),
        ] {
            let message = place(Path::new(url)).map(|_| ()).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[cfg(not(feature = "s3"))]
    #[test]
    fn a_build_without_a_store_says_so() {
        let error = place(Path::new("s3://b/photos")).map(|_| ()).unwrap_err();
        let message = "s3://b/photos needs attr built with the feature `s3`";
        assert_eq!(error.to_string(), message);
    }
}
