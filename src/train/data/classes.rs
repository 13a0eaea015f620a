//! What a model tells apart: fake or not, or which generator.

use std::collections::BTreeSet;

use super::pack::Entry;
use super::sampler::Making;
use super::sampler::leaves_out;
use super::table::{FAKE, REAL, Split};
use crate::model::ModelMeta;
use crate::train::config::{SamplingConfig, Task};
use crate::{Error, ErrorKind, Result};

/// Name of the class of self-blended images.
const SELF_BLENDED: &str = "self_blended";
/// Name of the class of pictures with up-sampling traces.
const UP_SAMPLED: &str = "up_sampled";

/// The classes of a run; class 0 is always "not manipulated".
#[derive(Debug, Clone, PartialEq)]
pub struct Classes {
    task: Task,
    names: Vec<String>,
}

impl Classes {
    /// The classes of `task` on these data. A fake without a generator's name goes by its source.
    ///
    /// # Errors
    /// `BadData` when there are more classes than a model file may have.
    pub fn new(task: Task, entries: &[Entry], sampling: &SamplingConfig) -> Result<Self> {
        let mut names = ModelMeta::default().class_names;
        if task == Task::Generator {
            let learnt = |e: &&Entry| e.packed() && e.split == Split::Train && e.label == FAKE;
            let found: BTreeSet<&str> =
                entries.iter().filter(|e| learnt(e) && !leaves_out(sampling, e)).map(Entry::maker).collect();
            names.truncate(1);
            names.extend(found.into_iter().map(str::to_string));
            for (name, share) in [(SELF_BLENDED, sampling.self_blended), (UP_SAMPLED, sampling.up_sampled)] {
                if share > 0.0 && !names.iter().any(|known| known == name) {
                    names.push(name.to_string());
                }
            }
        }
        match names.len() {
            2..=64 => Ok(Classes { task, names }),
            other => Err(Error::new(ErrorKind::BadData, format!("expected 2 to 64 classes, found {other}: {names:?}"))),
        }
    }

    /// Names in the model's order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The class of a picture of the data.
    pub fn of_entry(&self, entry: &Entry) -> usize {
        if entry.label == REAL { 0 } else { self.named(entry.maker()) }
    }

    /// The class of a fake.
    pub fn of_making(&self, making: Making, entries: &[Entry]) -> usize {
        match making {
            Making::Given(index) => self.of_entry(&entries[index]),
            Making::SelfBlended => self.named(SELF_BLENDED),
            Making::UpSampled => self.named(UP_SAMPLED),
        }
    }

    fn named(&self, name: &str) -> usize {
        match self.task {
            Task::Binary => 1,
            // Every generator that is drawn was listed in `new`.
            Task::Generator => self.names.iter().position(|known| known == name).unwrap_or(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::data::pack::Status;
    use crate::train::data::table::parse_table;

    fn entries() -> Vec<Entry> {
        let text = "path,label,source,generator,split\nr,0,photo,,train\na,1,swaps,dfdc,train\nb,1,gan,,train\n\
                    c,1,sdxl,sdxl,train\nd,1,flux,flux,test\n";
        let rows = parse_table(text.as_bytes(), "table").unwrap();
        rows.iter().map(|row| Entry::without_crop(row, Status::Packed)).collect()
    }

    #[test]
    fn generators_become_classes_by_name() {
        let sampling = SamplingConfig { self_blended: 0.2, leave_out: vec!["sdxl".into()], ..Default::default() };
        let entries = entries();
        let classes = Classes::new(Task::Generator, &entries, &sampling).unwrap();
        assert_eq!(classes.names(), ["unmanipulated", "dfdc", "gan", "self_blended"]);
        assert_eq!([0, 1, 2].map(|index| classes.of_entry(&entries[index])), [0, 1, 2]);
        assert_eq!(classes.of_making(Making::SelfBlended, &entries), 3);
        let binary = Classes::new(Task::Binary, &entries, &sampling).unwrap();
        assert_eq!([0, 1, 2].map(|index| binary.of_entry(&entries[index])), [0, 1, 1]);
        assert_eq!((binary.of_making(Making::SelfBlended, &entries), binary.names().len()), (1, 2));
    }
}
