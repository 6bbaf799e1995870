//! Writes generated scenes as a folder of images with a sub-folder for each class:
//! `cargo run --release --example scene_folder -- 500 scenes`. A third argument, `absent` or `present`,
//! leaves the confounder out of all scenes, or puts it into all.

use std::error::Error;
use std::path::Path;

use attr_examples::scenes::{Confounder, HELD_OUT, Scenes, write_folder};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (count, folder, confounder) = match arguments[..] {
        [count, folder] => (count, folder, Confounder::AsTrained),
        [count, folder, "absent"] => (count, folder, Confounder::Absent),
        [count, folder, "present"] => (count, folder, Confounder::Present),
        _ => return Err("give the number of scenes and a folder, such as: 500 scenes".into()),
    };
    let count = count.parse()?;
    write_folder(Path::new(folder), Scenes::new(HELD_OUT), count, confounder)?;
    println!("wrote {count} scenes to {folder}");
    Ok(())
}
