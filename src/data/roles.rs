//! Decides by their names which of several folders are the training, validation and test set. One name alone is not
//! enough, as `train` may be a class next to `bus`; a training set counts only if another set is next to it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::layout::{Inside, file_name};
use crate::{Error, Result};

/// Words that do not indicate a set.
const FILLERS: [&str; 19] = [
    "set", "sets", "data", "dataset", "split", "images", "image", "imgs", "img", "pictures", "pics", "photos", "dir",
    "folder", "files", "copy", "seg", "part", "all",
];

/// The set that a folder's name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Training,
    Validation,
    Test,
    /// The test set if there is no other, else the validation set.
    Evaluation,
}

impl Role {
    /// The role of one word, alone or with a filler, such as `train` and `trainset`.
    fn of(word: &str) -> Option<Role> {
        let alone = |word: &str| match word {
            "train" | "training" | "trn" | "trainval" => Some(Role::Training),
            "val" | "valid" | "validate" | "validation" | "dev" => Some(Role::Validation),
            "test" | "tests" | "testing" | "tst" | "holdout" => Some(Role::Test),
            "eval" | "evaluate" | "evaluation" => Some(Role::Evaluation),
            _ => None,
        };
        alone(word).or_else(|| FILLERS.iter().find_map(|filler| alone(word.strip_suffix(filler)?)))
    }

    fn name(self) -> &'static str {
        match self {
            Role::Training => "training",
            Role::Validation => "validation",
            Role::Test | Role::Evaluation => "test",
        }
    }
}

/// A name with one word for a set at its beginning or end: `train2017`, `01_val`, `TestImages`, `pets_train`.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    role: Role,
    /// The other words that are not fillers, such as `pets`.
    rest: Vec<String>,
}

impl Named {
    fn of(name: &str) -> Option<Named> {
        let mut words = words(name);
        words.retain(|word| !FILLERS.contains(&&word[..]));
        let roles: Vec<Option<Role>> = words.iter().map(|word| Role::of(word)).collect();
        let (role, count) = match roles[..] {
            [Some(Role::Training), Some(Role::Validation)] => (Role::Training, 2),
            [Some(role), ..] => (role, 1),
            [.., Some(role)] => {
                words.rotate_right(1);
                (role, 1)
            }
            _ => return None,
        };
        (roles.iter().flatten().count() == count).then(|| Named { role, rest: words.split_off(count) })
    }
}

/// The words of a name in lower case. Digits and punctuation separate words; a capital after a small letter begins one.
fn words(name: &str) -> Vec<String> {
    let (mut words, mut word, mut before) = (Vec::new(), String::new(), ' ');
    for c in name.chars().chain([' ']) {
        if !c.is_alphabetic() || (c.is_uppercase() && before.is_lowercase()) {
            words.push(std::mem::take(&mut word));
        }
        if c.is_alphabetic() {
            word.extend(c.to_lowercase());
        }
        before = c;
    }
    words.retain(|word| !word.is_empty());
    if let Some(at) = words.windows(2).position(|pair| pair == ["hold", "out"]) {
        words.splice(at..at + 2, ["holdout".to_string()]);
    }
    words
}

/// The sets among the folders in one place.
#[derive(Debug)]
pub(super) struct Sets<'a> {
    pub train: &'a PathBuf,
    pub validation: Option<&'a PathBuf>,
    pub test: Option<&'a PathBuf>,
}

impl<'a> Sets<'a> {
    /// Finds a training set and another set next to it whose names differ in nothing else. If none of them contains
    /// pictures directly, so that none is a class, the rest of the names may differ too.
    ///
    /// # Errors
    /// [`Error::Io`] if a folder cannot be read; [`Error::Data`] if two folders may be the same set, if sets are next
    /// to what looks like a class, or if sets lack a training set.
    pub fn find(place: &Path, inside: &'a Inside) -> Result<Option<Sets<'a>>> {
        let refuse = |why: String| Err(Error::Data(format!("{} {why}", place.display())));
        let named: Vec<(&PathBuf, Named)> =
            inside.folders.iter().filter_map(|path| Some((path, Named::of(&file_name(path))?))).collect();
        let is_split = |group: &Vec<(&PathBuf, Role)>| {
            let trained = group.iter().filter(|(_, role)| *role == Role::Training).count();
            trained > 0 && trained < group.len()
        };
        let mut groups: BTreeMap<&[String], Vec<(&PathBuf, Role)>> = BTreeMap::new();
        named.iter().for_each(|(path, Named { role, rest })| groups.entry(&rest[..]).or_default().push((path, *role)));
        let plain = groups.get(&[][..]).cloned().unwrap_or_default();
        if plain.len() > 1
            && plain.len() == inside.folders.len()
            && plain.iter().all(|(_, role)| *role != Role::Training)
            && plain.iter().any(|(_, role)| *role != plain[0].1)
        {
            return refuse(format!(
                "has {} but no training set; add a folder train with a subfolder for each class",
                names(&plain, " and ")
            ));
        }
        groups.retain(|_, group| is_split(group));
        let group = match (groups.remove(&[][..]), groups.len()) {
            (Some(plain), _) => plain,
            (None, 0) => {
                let all: Vec<(&PathBuf, Role)> = named.iter().map(|(path, named)| (*path, named.role)).collect();
                for (path, _) in &all {
                    let within = Inside::of(path)?;
                    if within.pictures > 0 || within.folders.is_empty() {
                        return Ok(None);
                    }
                }
                if !is_split(&all) {
                    return Ok(None);
                }
                all
            }
            (None, 1) => groups.into_values().flatten().collect(),
            (None, _) => {
                let all: Vec<(&PathBuf, Role)> = groups.into_values().flatten().collect();
                return refuse(format!("has the sets of several data sets, {}; keep one of them", names(&all, ", ")));
            }
        };
        let instead = if group.iter().any(|(_, role)| *role == Role::Test) { Role::Validation } else { Role::Test };
        let group: Vec<(&PathBuf, Role)> = group
            .into_iter()
            .map(|(path, role)| (path, if role == Role::Evaluation { instead } else { role }))
            .collect();
        let of_role = |role| group.iter().copied().filter(move |(_, of)| *of == role);
        for role in [Role::Training, Role::Validation, Role::Test] {
            let same: Vec<(&PathBuf, Role)> = of_role(role).collect();
            if same.len() > 1 {
                return refuse(format!(
                    "has both {}, and either could be the {} set; keep one of them",
                    names(&same[..2], " and "),
                    role.name()
                ));
            }
        }
        let [train, validation, test] =
            [Role::Training, Role::Validation, Role::Test].map(|role| of_role(role).next().map(|(path, _)| path));
        let Some(train) = train else { return Ok(None) };
        if Inside::of(train)?.pictures > 0 {
            for path in inside.folders.iter().filter(|path| group.iter().all(|(set, _)| set != path)) {
                if Inside::of(path)?.pictures > 0 {
                    return refuse(format!(
                        "has {}, which look like sets, next to {}, which looks like a class; rename the class, or move \
                         it out",
                        names(&group, " and "),
                        file_name(path)
                    ));
                }
            }
        }
        Ok(Some(Sets { train, validation, test }))
    }
}

fn names(folders: &[(&PathBuf, Role)], between: &str) -> String {
    folders.iter().map(|(path, _)| file_name(path)).collect::<Vec<_>>().join(between)
}

/// Whether a folder's name only says that it contains data, such as `images`.
pub(super) fn says_nothing(path: &Path) -> bool {
    let words = words(&file_name(path));
    !words.is_empty() && words.iter().all(|word| FILLERS.contains(&&word[..]))
}

/// Whether folders are a training set and another set.
pub(super) fn holds_sets(folders: &[PathBuf]) -> bool {
    let roles: Vec<Role> = folders.iter().filter_map(|path| Some(Named::of(&file_name(path))?.role)).collect();
    roles.contains(&Role::Training) && roles.iter().any(|role| *role != Role::Training)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_word_of_a_name_says_which_set_a_folder_is() {
        let plain = [
            (Role::Training, "train2017 01_train Train TRAINING train_1 train_dir TrainingData TrainImages trainset"),
            (
                Role::Training,
                "Train(1) training_set train-images traindata train_val trainval seg_train 2_Train.images",
            ),
            (Role::Validation, "val2017 02_val valid dev val-images ValidationSet DevData validation_1"),
            (Role::Test, "test2017 03_test TestImages test_dir Testing test(2) holdout hold_out hold-out testset"),
            (Role::Evaluation, "eval evaluation EvaluationData eval_2"),
        ];
        for (role, names) in plain {
            for name in names.split(' ') {
                assert_eq!(Named::of(name), Some(Named { role, rest: vec![] }), "{name}");
            }
        }
        for (name, role, rest) in [
            ("pets_train", Role::Training, "pets"),
            ("X_test", Role::Test, "x"),
            ("PublicTest", Role::Test, "public"),
            ("train_station", Role::Training, "station"),
        ] {
            assert_eq!(Named::of(name), Some(Named { role, rest: vec![rest.into()] }), "{name}");
        }
        for name in ["bus", "trains", "contest", "restrain", "a_train_b", "train_test", "2017", "", "images", "medevac"]
        {
            assert_eq!(Named::of(name), None, "{name}");
        }
    }
}
