//! Writes generated scenes as a folder of images with a sub-folder for each class:
//! `cargo run --release --example scene_folder -- 500 scenes`.

use std::error::Error;
use std::path::Path;

use attr_examples::scenes::{Confounder, HELD_OUT, Scenes, write_folder};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [count, folder] = &arguments[..] else {
        return Err("give the number of scenes and a folder, such as: 500 scenes".into());
    };
    let (count, folder) = (count.parse()?, Path::new(folder));
    write_folder(folder, Scenes::new(HELD_OUT), count, Confounder::AsTrained)?;
    println!("wrote {count} scenes to {}", folder.display());
    Ok(())
}
